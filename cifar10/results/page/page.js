"use strict";
// A button in each column header sorts the table: ascending first, then descending.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      const text = (row) => row.cells[column].textContent.replaceAll(",", "");
      const compare = (a, b) => text(a).localeCompare(text(b), "en", { numeric: true });
      const rows = [...table.tBodies[0].rows].sort((a, b) => (descending ? compare(b, a) : compare(a, b)));
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      table.tBodies[0].append(...rows);
    });
  });
}

// Scrollable boxes are focusable, so that the keyboard can scroll them.
const setTabIndex = () => {
  for (const box of document.querySelectorAll(".scroll, .picture")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
};
addEventListener("resize", setTabIndex);
setTabIndex();
