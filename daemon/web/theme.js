// Dark or light: as the system says, or as the switch does.  Only this choice is kept in the browser's storage.

const KEY = "greedylrd-theme";
const ORDER = ["system", "light", "dark"];
const system = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set();
let choice = "system";

try {
  choice = ORDER.includes(localStorage.getItem(KEY)) ? localStorage.getItem(KEY) : "system";
} catch {
  // Storage is off: the choice lasts as long as the page.
}

function apply() {
  const dark = choice === "dark" || (choice === "system" && system.matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  for (const listener of listeners) listener();
}

system.addEventListener("change", apply);
apply();

export function themeChoice() {
  return choice;
}

export function nextTheme() {
  choice = ORDER[(ORDER.indexOf(choice) + 1) % ORDER.length];
  try {
    localStorage.setItem(KEY, choice);
  } catch {
    // As above.
  }
  apply();
  return choice;
}

// Returns what ends it.
export function onTheme(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

// A colour of app.css, for what is drawn on a canvas.
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
