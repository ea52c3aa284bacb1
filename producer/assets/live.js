// Keeps a page fresh: listens for hints, fetches the page again and puts its live parts in place of the old ones.
// Without this script the page is complete too; it only has to be reloaded.
"use strict";

(() => {
  const body = document.body;
  const job = body.dataset.job;
  const status = document.getElementById("live-state");
  const PAUSE = 1000; // between two looks, however many hints come
  const SOON = 150; // hints come in groups

  // Ages count by the server's clock.
  let ahead = Number(body.dataset.now) - Date.now();

  const pad = (number) => String(number).padStart(2, "0");

  function words(millis) {
    const ms = Math.max(0, Math.floor(millis));
    const s = Math.floor(ms / 1000);
    const m = Math.floor(s / 60);
    const h = Math.floor(s / 3600);
    if (s === 0) return `${ms} ms`;
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${m} m ${pad(s % 60)} s`;
    if (s < 86400) return `${h} h ${pad(m % 60)} m`;
    return `${Math.floor(s / 86400)} d ${h % 24} h`;
  }

  function tick() {
    const now = Date.now() + ahead;
    for (const element of document.querySelectorAll("[data-since]")) {
      const text = words(now - Number(element.dataset.since));
      if (element.textContent !== text) element.textContent = text;
    }
  }

  function say(text, state) {
    if (status.textContent !== text) status.textContent = text;
    status.dataset.state = state;
  }

  // A log that is read at its end stays at its end; one that is read elsewhere stays where it is.
  function replace(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    const focused = document.activeElement;
    const link = focused && old.contains(focused) ? focused.getAttribute("href") : null;
    const atEnd = old.scrollTop + old.clientHeight >= old.scrollHeight - 4;
    const top = old.scrollTop;
    old.replaceWith(fresh);
    if (old.hasAttribute("data-tail")) fresh.scrollTop = atEnd ? fresh.scrollHeight : top;
    if (link) fresh.querySelector(`a[href="${CSS.escape(link)}"]`)?.focus();
  }

  let timer = null;
  let last = 0;
  let busy = false;
  let again = false;

  async function look() {
    timer = null;
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    last = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (answer.status >= 500) {
        say("the server has trouble; what is shown is old", "lost");
        return;
      }
      if (!page.body.dataset.stream) {
        location.reload(); // logged out, or the job is gone: show that
        return;
      }
      ahead = Number(page.body.dataset.now) - Date.now();
      for (const old of document.querySelectorAll("[data-live][id]")) {
        const fresh = page.getElementById(old.id);
        if (fresh) replace(old, fresh);
      }
      tick();
    } catch {
      say("not connected", "lost");
    } finally {
      busy = false;
      if (again) {
        again = false;
        soon();
      }
    }
  }

  function soon() {
    if (timer !== null || document.hidden) return;
    timer = setTimeout(look, Math.max(SOON, last + PAUSE - Date.now()));
  }

  function hinted(event) {
    const about = JSON.parse(event.data).job;
    if (!job || !about || about === job) soon();
  }

  function connect() {
    const source = new EventSource(body.dataset.stream);
    source.addEventListener("hello", () => {
      say("live", "live");
      soon();
    });
    source.addEventListener("job_changed", hinted);
    if (job) source.addEventListener("log_written", hinted);
    source.addEventListener("missed", soon);
    source.addEventListener("error", () => {
      say("not connected", "lost");
      // After a refusal a browser gives up; a server that drains or is full takes us again later.
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, 5000);
    });
  }

  connect();
  document.addEventListener("visibilitychange", soon);
  setInterval(soon, 10000); // what no hint told: a lost one, another tenant's queue

  for (const log of document.querySelectorAll("[data-tail]")) log.scrollTop = log.scrollHeight;
  setInterval(tick, 1000);
})();
