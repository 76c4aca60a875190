"use strict";
// Keeps the page current and sends what the buttons say. Everything is drawn by the server: this only fetches the main
// part again and takes over what differs, so that focus, selection and scrolling stay where they are. A row stays the same
// element for as long as its server is there, and nothing changes while somebody aims at a button or presses it: what is
// clicked is what was under the pointer.
(() => {
  const PERIOD = 2000; // milliseconds between two looks
  const KEY = "fastlb.token";
  const $ = (id) => document.getElementById(id);
  const live = $("live"), forget = $("forget"), notice = $("notice"), ask = $("ask");
  const AIMING = 1500; // milliseconds after the pointer moved on a button
  const PRESSING = 5000; // the longest that a pressed button holds the page
  let on = true, timer = 0, lost = 0, said = 0;
  let aimed = 0, pressed = 0, coming = null; // coming: what is to be shown once the hand is away
  let asked = 0, newest = 0; // answers may overtake each other; an older one is not shown after a newer one

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
    clearTimeout(said);
    if (text && !bad) said = setTimeout(() => say(""), 10000);
  }

  function morph(old, now) {
    if (old.nodeType !== now.nodeType || old.nodeName !== now.nodeName) { old.replaceWith(now); return; }
    if (old.nodeType !== Node.ELEMENT_NODE) { if (old.data !== now.data) old.data = now.data; return; }
    if (old.isEqualNode(now)) return;
    for (const { name } of [...old.attributes]) if (!now.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of [...now.attributes]) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    // Elements with a key are found wherever they stand now, the others in their order.
    const keyed = new Map(), plain = [];
    for (const node of old.childNodes) {
      const key = keyOf(node);
      if (key) keyed.set(key, node); else plain.push(node);
    }
    let at = old.firstChild, used = 0;
    for (const node of [...now.childNodes]) {
      const key = keyOf(node);
      let kept = key ? keyed.get(key) : plain[used++];
      if (key) keyed.delete(key);
      if (kept && (kept.nodeType !== node.nodeType || kept.nodeName !== node.nodeName)) {
        if (kept === at) at = at.nextSibling;
        kept.remove();
        kept = undefined;
      }
      if (!kept) { old.insertBefore(node, at); continue; }
      if (kept === at) at = at.nextSibling; else old.insertBefore(kept, at);
      morph(kept, node);
    }
    for (const node of [...keyed.values(), ...plain.slice(used)]) node.remove();
  }

  function keyOf(node) { return node.nodeType === Node.ELEMENT_NODE ? node.dataset.key || node.id : ""; }

  function held() {
    const now = Date.now();
    return now - aimed < AIMING || now - pressed < PRESSING;
  }

  function show() {
    if (!coming) return;
    if (held()) { setTimeout(show, 100); return; }
    const main = coming;
    coming = null;
    morph($("main"), main);
    document.title = $("main").dataset.title;
    document.documentElement.dataset.refreshed = Date.now();
  }

  document.addEventListener("pointermove", (event) => {
    if (event.target.closest("main button")) aimed = Date.now();
  }, { passive: true });
  document.addEventListener("pointerdown", (event) => {
    if (event.target.closest("main button, main a")) pressed = Date.now();
  }, { passive: true });
  // The click comes behind these; what it does begins before the page changes.
  for (const name of ["pointerup", "pointercancel"]) {
    document.addEventListener(name, () => setTimeout(() => { aimed = pressed = 0; show(); }), { passive: true });
  }

  async function refresh() {
    clearTimeout(timer);
    const turn = ++asked;
    try {
      const where = new URL(location.href);
      where.searchParams.set("part", "main");
      const answer = await fetch(where, { cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (turn > newest) {
        newest = turn;
        coming = document.adoptNode(page.getElementById("main"));
        show();
      }
      if (lost) say("");
      lost = 0;
    } catch (error) {
      lost = lost || Date.now();
      const since = new Date(lost).toLocaleTimeString();
      say(`No answer since ${since} (${error.message}); what stands here is as old.`, true);
    }
    document.documentElement.classList.toggle("stale", lost !== 0);
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

  // A question with Cancel and Go on; resolves to what was typed ("" without a field), null when cancelled. The answer is
  // taken where it is given and not from the dialog's close event, which comes later: by then there may be another question.
  let answered = null;
  function answer(value) {
    const field = ask.querySelector("input"), tell = answered;
    answered = null;
    field.value = "";
    if (ask.open) ask.close();
    if (tell) tell(value);
  }
  ask.querySelector("button[type=button]").addEventListener("click", () => answer(null));
  ask.addEventListener("cancel", (event) => { event.preventDefault(); answer(null); });
  ask.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    answer(ask.querySelector("input").value);
  });
  function question(title, text, secret) {
    answer(null);
    ask.querySelector("h2").textContent = title;
    ask.querySelector("p").textContent = text;
    const label = ask.querySelector("label"), field = ask.querySelector("input");
    label.hidden = !secret;
    field.required = secret;
    ask.showModal();
    return new Promise((done) => { answered = done; });
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
