// Asks for a token where the daemon wants one.  It goes to api.js, which keeps it in memory: a reload asks again.
import { h } from "./dom.js";

let asked = false;

// Resolves with what was typed; message: the daemon's words, which are bad news from the second time on.
export function askToken(message) {
  return new Promise((done) => {
    const input = h("input", {
      id: "token", type: "password", name: "token", autocomplete: "off", spellcheck: "false", placeholder: "id.secret",
    });
    const dialog = h(
      "dialog",
      { class: "token", "aria-labelledby": "token-title" },
      h(
        "form",
        { onsubmit: submit },
        h("h2", { id: "token-title" }, "This daemon asks for a token"),
        h("p", { class: asked ? "words problem" : "words", role: "alert" }, message),
        h("label", { for: "token" }, "Token"),
        input,
        h(
          "p",
          { class: "hint" },
          "The observe role is enough to look. It stays in this tab's memory, is sent in a header only, and is gone when the tab is reloaded. To make one: ",
          h("code", null, "greedylr token create --file FILE --role observe --prefix=")
        ),
        h("button", { type: "submit", class: "primary" }, "Use this token")
      )
    );
    function submit(event) {
      event.preventDefault();
      const typed = input.value.trim();
      if (!/^[\x21-\x7e]+$/.test(typed)) {
        dialog.querySelector(".words").textContent = "A token is one word of plain characters: id.secret";
        return;
      }
      input.value = "";
      dialog.remove();
      done(typed);
    }
    dialog.addEventListener("cancel", (event) => event.preventDefault()); // there is nothing to see without one
    asked = true;
    document.body.append(dialog);
    dialog.showModal();
    input.focus();
  });
}
