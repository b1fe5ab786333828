"""Goal environments: reached or not."""
