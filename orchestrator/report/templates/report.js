// Draw every panel from the specification beside it. A click on a point keeps its look-up command visible.
const options = {
  renderer: "svg",
  actions: { export: true, source: false, compiled: false, editor: false },
};
for (const plot of document.querySelectorAll(".plot")) {
  const spec = JSON.parse(document.getElementById(plot.dataset.spec).textContent);
  const picked = plot.parentElement.querySelector(".picked");
  vegaEmbed(plot, spec, options).then(
    ({ view }) => {
      view.addEventListener("click", (event, item) => {
        picked.textContent = item?.datum?.command ?? "";
      });
      plot.dataset.drawn = "true";
    },
    (error) => {
      console.error(error);
      plot.textContent = `This plot could not be drawn: ${error.message}`;
    },
  );
}
