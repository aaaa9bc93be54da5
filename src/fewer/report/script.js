(() => {
  const tip = document.getElementById("tip");
  const show = (mark) => {
    tip.textContent = mark.dataset.tip;
    tip.hidden = false;
    const at = mark.getBoundingClientRect(), own = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, at.left + at.width / 2 - own.width / 2), innerWidth - own.width - 8);
    const above = at.top - own.height - 8;
    tip.style.left = left + "px";
    tip.style.top = (above > 4 ? above : at.bottom + 8) + "px";
  };
  const hide = () => { tip.hidden = true; };
  const marked = (event) => event.target.closest && event.target.closest("[data-tip]");
  for (const kind of ["pointerover", "focusin"])
    document.addEventListener(kind, (event) => { const mark = marked(event); mark ? show(mark) : hide(); });
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, { passive: true });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const label = head.textContent, button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
        const rows = [...body.rows].sort((a, b) => {
          const p = value(a), q = value(b), x = parseFloat(p), y = parseFloat(q);
          if (p === "" || q === "") return (p === "") - (q === "");
          const order = Number.isNaN(x) || Number.isNaN(y) ? p.localeCompare(q) : x - y;
          return up ? order : -order;
        });
        body.replaceChildren(...rows);
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
      });
    });
  }
})();
