for (const table of document.querySelectorAll("table.sortable"))
  table.tHead.addEventListener("click", event => {
    const head = event.target.closest("th"), body = table.tBodies[0];
    if (!head) return;
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => { const cell = row.cells[head.cellIndex];
      return cell.dataset.sort ?? cell.textContent; };
    const order = new Intl.Collator(undefined, {numeric: true});
    const compare = (a, b) => { const x = Number(a), y = Number(b);
      return a !== "" && b !== "" && !isNaN(x) && !isNaN(y) ? x - y : order.compare(a, b); };
    const rows = [...body.rows].sort((a, b) => compare(key(a), key(b)));
    body.append(...(down ? rows.reverse() : rows));
  });
const open = () => { const place = document.getElementById(location.hash.slice(1));
  if (place && place.tagName === "DETAILS") { place.open = true; place.scrollIntoView(); } };
addEventListener("hashchange", open); open();
