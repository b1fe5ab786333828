"""From a configuration to a run folder, and the examination of what it holds."""
