// What is too wide scrolls in itself, by the arrow keys, too.
const reach = () => document.querySelectorAll("p, pre, .scroll, .table, .piece, .output_subarea, mjx-container[display]")
  .forEach(box => box.scrollWidth > box.clientWidth ? box.tabIndex = 0 : box.removeAttribute("tabindex"));
addEventListener("load", async () => {
  await window.MathJax?.startup?.promise;
  await document.fonts.ready;
  reach();
});
addEventListener("resize", reach);
