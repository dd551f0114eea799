/* The widget manager typesets labels through MathJax.Hub, the interface of MathJax 2. Answer it with MathJax 3.
   Loaded deferred, after MathJax and before the widgets are drawn. */
if (window.MathJax && !window.MathJax.Hub) {
  window.MathJax.Hub = {
    Queue: (job) => window.MathJax.startup.promise.then(() => window.MathJax.typesetPromise([job[2]])),
  };
}
