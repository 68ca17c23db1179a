// Which page is shown (the part of the address behind #), the frame around it, and keys that work everywhere.
import { forgetToken, getVersion, hasToken, onTokenNeeded } from "./api.js";
import { h, icon, say } from "./dom.js";
import { JobPage } from "./job.js";
import { ListPage } from "./list.js";
import { nextTheme, themeChoice } from "./theme.js";
import { askToken } from "./token.js";

const main = document.getElementById("main");
const status = document.getElementById("live");
const themeButton = document.getElementById("theme");
const tokenButton = document.getElementById("forget");
const ICONS = {
  system: "M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13zm0 1.5v10a5 5 0 0 1 0-10z",
  light: "M8 5a3 3 0 1 0 0 6a3 3 0 0 0 0-6zM7.25 1h1.5v2.5h-1.5zM7.25 12.5h1.5V15h-1.5zM1 7.25h2.5v1.5H1zM12.5 7.25H15v1.5h-2.5zM2.6 3.7l1.1-1.1l1.7 1.8l-1 1zM10.6 11.6l1-1l1.8 1.7l-1.1 1.1zM2.6 12.3l1.8-1.7l1 1l-1.7 1.8zM10.6 4.4l1.7-1.8l1.1 1.1l-1.8 1.7z",
  dark: "M13.5 10.2A6 6 0 0 1 5.8 2.5a6 6 0 1 0 7.7 7.7z",
};
const LIVE = { live: "live", waiting: "reconnecting…", off: "not live" };
let page = null;

function live(state) {
  status.className = `live ${state === "live" ? "on" : state}`;
  say(status, LIVE[state]);
  tokenButton.hidden = !hasToken();
}

function route() {
  page?.destroy();
  page = null;
  status.className = "live";
  say(status, "");
  const [, job] = /^#\/jobs\/(.+)$/.exec(location.hash) || [];
  let name;
  try {
    name = job && decodeURIComponent(job);
  } catch {
    name = job;
  }
  document.title = name ? `${name} · greedylrd` : "greedylrd";
  page = name ? new JobPage(main, name, { live }) : new ListPage(main, { live });
  scrollTo(0, 0);
}

function showTheme() {
  const choice = themeChoice();
  themeButton.replaceChildren(icon(ICONS[choice]));
  themeButton.setAttribute("aria-label", `Colours: ${choice}`);
  themeButton.title = `Colours: ${choice}`;
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault(); // # is the route's
  main.focus();
});
themeButton.addEventListener("click", () => (nextTheme(), showTheme()));
tokenButton.addEventListener("click", () => {
  forgetToken();
  route();
});
addEventListener("hashchange", () => {
  route();
  main.focus({ preventScroll: true });
});
addEventListener("keydown", (event) => {
  const typing = event.target.matches?.("input:not([type=range]), select, textarea");
  if (event.key === "Escape" && event.target.type === "search") event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "/") {
    event.preventDefault();
    if (!page?.focusSearch) location.hash = "#/";
    setTimeout(() => page?.focusSearch?.());
  }
});

onTokenNeeded(askToken);
showTheme();
route();
getVersion().then(
  ({ version }) => document.getElementById("version").append(h("span", null, `greedylrd ${version}`)),
  () => {}
);
