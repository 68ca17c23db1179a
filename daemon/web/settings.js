// Every setting in force, and which of them somebody chose.
import { h, fill } from "./dom.js";
import { policyField, policyName } from "./badges.js";
import { value } from "./text.js";

const FIRST = ["lr", "group_names"];
const SHOWN_ELSEWHERE = new Set(["job", "labels"]);

export function showSettings(element, job) {
  const effective = job.effective || job.spec;
  const policy = policyField(effective);
  const plain = Object.keys(effective).filter((name) => !isGroup(effective[name]));
  const names = [...FIRST, ...plain, policy, ...Object.keys(effective)].filter(
    (name, i, all) => effective[name] !== undefined && !SHOWN_ELSEWHERE.has(name) && all.indexOf(name) === i
  );
  fill(
    element,
    h("header", null, h("h2", null, "Settings"), h("span", { class: "hint" }, "bold: given, others are defaults")),
    h("dl", { class: "settings" }, names.flatMap((name) => rows(name, effective[name], job.spec[name])))
  );
}

function isGroup(x) {
  return x !== null && typeof x === "object" && (!Array.isArray(x) || typeof x[0] === "object");
}

function rows(name, effective, given) {
  if (name === "shadow") return effective.flatMap((shadow, i) => shadowRows(shadow, given?.[i]));
  if (isGroup(effective)) {
    return group(name.replaceAll("_", " "), "", effective, given);
  }
  return [row(name, effective, given !== undefined)];
}

function shadowRows(shadow, given) {
  const policy = policyField(shadow);
  return group(`shadow ${shadow.name}`, policyName(shadow), shadow[policy] || {}, given?.[policy]);
}

function group(title, hint, effective, given) {
  return [
    h("div", { class: "group" }, h("dt", null, title), h("dd", { class: "hint" }, hint)),
    ...Object.entries(effective).map(([name, x]) => row(name, x, given?.[name] !== undefined, true)),
  ];
}

function row(name, x, isGiven, inner = false) {
  return h("div", { class: `${inner ? "inner" : ""} ${isGiven ? "given" : ""}` }, h("dt", null, name), h("dd", null, print(x)));
}

function print(x) {
  if (Array.isArray(x)) return x.length > 8 ? `${x.slice(0, 8).map(print).join(", ")}, … (${x.length})` : x.map(print).join(", ");
  if (typeof x === "number") return Number.isInteger(x) ? String(x) : value(x, 6);
  if (x !== null && typeof x === "object") return JSON.stringify(x);
  return String(x);
}
