"use strict";
// Keeps the page current and sends what the buttons say. Everything is drawn by the server: this only fetches the main
// part again and takes over what differs, so that focus, selection and scrolling stay where they are.
(() => {
  const PERIOD = 2000; // milliseconds between two looks
  const KEY = "fastlb.token";
  const $ = (id) => document.getElementById(id);
  const live = $("live"), forget = $("forget"), notice = $("notice"), ask = $("ask");
  let on = true, timer = 0, lost = 0;

  document.documentElement.classList.add("js");
  live.hidden = false;

  function token(value) { // kept in this tab until it is closed
    if (value === undefined) return sessionStorage.getItem(KEY) || "";
    if (value) sessionStorage.setItem(KEY, value); else sessionStorage.removeItem(KEY);
    forget.hidden = !value;
    return value;
  }
  forget.hidden = !token();

  function say(text, bad) {
    notice.textContent = text;
    notice.className = text ? (bad ? "bad" : "good") : "";
  }

  function morph(old, now) {
    if (old.nodeType !== now.nodeType || old.nodeName !== now.nodeName) { old.replaceWith(now); return; }
    if (old.nodeType !== Node.ELEMENT_NODE) { if (old.data !== now.data) old.data = now.data; return; }
    if (old.isEqualNode(now)) return;
    for (const { name } of [...old.attributes]) if (!now.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of [...now.attributes]) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const before = [...old.childNodes], after = [...now.childNodes];
    before.slice(after.length).forEach((node) => node.remove());
    after.forEach((node, i) => (i < before.length ? morph(before[i], node) : old.append(node)));
  }

  async function refresh() {
    clearTimeout(timer);
    try {
      const where = new URL(location.href);
      where.searchParams.set("part", "main");
      const answer = await fetch(where, { cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      morph($("main"), document.adoptNode(page.getElementById("main")));
      document.title = $("main").dataset.title;
      if (lost) say("");
      lost = 0;
    } catch (error) {
      lost = lost || Date.now();
      const since = new Date(lost).toLocaleTimeString();
      say(`No answer since ${since} (${error.message}); what stands here is as old.`, true);
    }
    document.documentElement.classList.toggle("stale", lost !== 0);
    document.documentElement.dataset.refreshed = Date.now();
    if (on && !document.hidden) timer = setTimeout(refresh, PERIOD);
  }

  live.addEventListener("click", () => {
    on = !on;
    live.setAttribute("aria-pressed", on);
    live.textContent = on ? "Live" : "Paused";
    if (on) refresh(); else clearTimeout(timer);
  });
  document.addEventListener("visibilitychange", () => { if (on && !document.hidden) refresh(); });
  forget.addEventListener("click", () => { token(""); say("The token is forgotten."); });

  ask.querySelector("button[type=button]").addEventListener("click", () => ask.close("no"));

  // A question with Cancel and Go on; resolves to what was typed ("" without a field), null when cancelled.
  function question(title, text, secret) {
    ask.querySelector("h2").textContent = title;
    ask.querySelector("p").textContent = text;
    const label = ask.querySelector("label"), field = ask.querySelector("input");
    label.hidden = !secret;
    field.required = secret;
    field.value = "";
    ask.returnValue = "no";
    ask.showModal();
    return new Promise((done) => ask.addEventListener("close", () => {
      const value = field.value;
      field.value = "";
      done(ask.returnValue === "yes" ? value : null);
    }, { once: true }));
  }

  async function change(group, state) {
    const { path, name, last } = group.dataset;
    if (last && state !== "ready") {
      const text = `${name} is the only server in use of its backend: requests would get 503.`;
      if ((await question(`Set ${name} to ${state}?`, text, false)) === null) return;
    }
    for (let tries = 0; tries < 3; tries++) {
      const headers = { "Content-Type": "application/json" };
      if (token()) headers.Authorization = `Bearer ${token()}`;
      group.setAttribute("aria-busy", "true");
      let answer;
      try {
        answer = await fetch(path, { method: "PATCH", headers, body: JSON.stringify({ state, reason: "stats page" }) });
      } catch (error) {
        say(`${name}: ${error.message}`, true);
        return;
      } finally {
        group.removeAttribute("aria-busy");
      }
      if (answer.ok) {
        say(`${name} is set to ${state}.`);
        return refresh();
      }
      const problem = await answer.json().catch(() => ({}));
      if (answer.status !== 401) {
        say(`${name}: ${problem.detail || answer.status}`, true);
        return;
      }
      const again = token() ? "That token was not right. " : "";
      token("");
      const typed = await question("Token", `${again}Changes need the token of admin.token. It is kept until this tab is closed.`, true);
      if (!typed) return;
      token(typed.trim());
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-state]");
    if (button && button.getAttribute("aria-pressed") !== "true") change(button.parentElement, button.dataset.state);
  });

  timer = setTimeout(refresh, PERIOD);
})();
