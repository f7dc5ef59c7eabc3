/** Light or dark: as the system is set, unless a person says otherwise. */

const system = matchMedia("(prefers-color-scheme: dark)");
let chosen = $state<string>(document.documentElement.dataset.theme ?? "");
let systemIsDark = $state(system.matches);
system.addEventListener("change", () => (systemIsDark = system.matches));

export const isDark = (): boolean => (chosen ? chosen === "dark" : systemIsDark);

export function toggle(): void {
  chosen = isDark() ? "light" : "dark";
  if ((chosen === "dark") === systemIsDark) {
    chosen = ""; // what the system says anyway needs no choice
    delete document.documentElement.dataset.theme;
    localStorage.removeItem("soundkin.theme");
  } else {
    document.documentElement.dataset.theme = chosen;
    localStorage.setItem("soundkin.theme", chosen);
  }
}
