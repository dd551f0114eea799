// What the theme and its extensions leave without a name, name otherwise than it reads, or give a role that it may not have.

function mend() {
  const sidebar = document.getElementById("pst-primary-sidebar");
  sidebar?.setAttribute("role", "navigation");
  sidebar?.setAttribute("aria-label", "Book");
  // Their names are what stands on them, such as "Search Ctrl+K".
  document.querySelectorAll(".search-button-field, summary[aria-label]").forEach((each) => each.removeAttribute("aria-label"));
  // The button has a name; its three icons have titles of their own, as an attribute until they are drawn, then as an element.
  document.querySelectorAll(".theme-switch-button > *").forEach((icon) => {
    icon.removeAttribute("title");
    icon.removeAttribute("aria-labelledby");
    icon.setAttribute("aria-hidden", "true");
    icon.querySelector("title")?.remove();
  });
  document.querySelectorAll(".citation-list, .citation").forEach((each) => each.removeAttribute("role"));
}

mend();
// Some of it is made while the page loads.
addEventListener("load", mend);
// The icons are drawn by a script that is ready before or after this one.
document.querySelectorAll(".theme-switch-button").forEach((button) => new MutationObserver(mend).observe(button, { childList: true }));
