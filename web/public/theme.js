// Before the first paint, so that a page in the dark never flashes white.
(() => {
  const theme = localStorage.getItem("soundkin.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
