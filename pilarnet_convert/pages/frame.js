"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const choice = document.getElementById("theme");
  const apply = () => {
    document.documentElement.dataset.theme = choice.value || (dark.matches ? "dark" : "light");
    document.dispatchEvent(new Event("themechange"));
  };
  choice.addEventListener("change", apply);
  dark.addEventListener("change", apply);
  apply();
})();
