// What the studio does in the browser by itself: theme, menu, sending files, keys. No text is written here: it comes with the
// page. Everything stays on this machine: the only addresses called are the studio's own.
"use strict";
window.limpide = (() => {
  const content = () => document.getElementById("content");
  const form = () => content()?.dataset.form ?? "";
  const year = 31536000;

  function remember(name, value) {
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `${name}=${value}; Path=/; Max-Age=${year}; SameSite=Strict${secure}`;
  }

  function isDark() {
    return document.body.classList.contains("body--dark");
  }

  // Dark or light, whichever it is not; when that is what the system asks for, it follows the system again.
  function nextTheme() {
    const dark = !isDark();
    const system = matchMedia("(prefers-color-scheme: dark)").matches;
    remember("limpide_theme", dark === system ? "system" : dark ? "dark" : "light");
    setDark(dark === system ? null : dark);
  }

  function toggleMenu(open) {
    const button = document.getElementById("menu");
    const show = open ?? button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(show));
    document.body.classList.toggle("menu-open", show);
  }

  async function leave() {
    await fetch("/leave", { method: "POST", headers: { "X-Limpide-Form": form() } });
    location.assign("/");
  }

  // One file after the other, each as the plain body of a request. `zone` is told how far it is; the server's words come
  // back in its answer. A file that is too large is not sent at all.
  async function send(zone, files) {
    const limit = Number(zone.dataset.limit);
    for (const file of files) {
      const shown = bar(zone, file.name);
      let answer;
      if (file.size > limit) answer = { name: file.name, what: zone.dataset.tooLarge };
      else answer = await sendOne(file, shown).catch(() => ({ name: file.name, what: zone.dataset.broken }));
      shown.remove();
      emitEvent(zone.dataset.event, answer);
    }
  }

  function bar(zone, name) {
    const line = document.createElement("div");
    line.className = "sending";
    const label = document.createElement("span");
    label.textContent = name;
    const progress = document.createElement("progress");
    progress.max = 1;
    progress.setAttribute("aria-label", name);
    line.append(label, progress);
    zone.append(line);
    return line;
  }

  function sendOne(file, shown) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", "/upload");
      request.setRequestHeader("X-Limpide-Form", form());
      request.setRequestHeader("X-Limpide-Name", encodeURIComponent(file.name));
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.upload.onprogress = (event) => {
        if (event.lengthComputable) shown.querySelector("progress").value = event.loaded / event.total;
      };
      request.onload = () => {
        try {
          resolve(JSON.parse(request.responseText));
        } catch (error) {
          reject(error);
        }
      };
      request.onerror = reject;
      request.send(file);
    });
  }

  // Delegated, because the page is drawn after this file is read and parts of it are drawn again.
  const zoneOf = (event) => event.target.closest?.(".upload");
  document.addEventListener("change", (event) => {
    const zone = zoneOf(event);
    if (!zone || event.target.type !== "file") return;
    const files = [...event.target.files];
    event.target.value = "";
    send(zone, files);
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
      event.preventDefault(); // a file dropped beside the zone would otherwise replace the page
      const zone = zoneOf(event);
      document.querySelectorAll(".upload").forEach((other) => {
        other.classList.toggle("over", kind === "dragover" && other === zone);
      });
      if (kind === "drop" && zone) send(zone, [...event.dataTransfer.files]);
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && document.body.classList.contains("menu-open")) {
      toggleMenu(false);
      document.getElementById("menu").focus();
    }
  });

  // The words of an answer are one stop of the Tab key: arrows, Home and End go from word to word, Tab comes back to the
  // last one, and Enter or Space click it, as on any button.
  function beside(word, all, key) {
    if (key === "Home" || key === "End") return all.at(key === "Home" ? 0 : -1);
    if (key === "ArrowLeft" || key === "ArrowRight") return all[all.indexOf(word) + (key === "ArrowLeft" ? -1 : 1)];
    const here = word.getBoundingClientRect();
    const down = key === "ArrowDown" ? 1 : -1;
    const near = (place) => 1000 * Math.abs(place.top - here.top) + Math.abs(place.left - here.left); // the next line
    let best = null;
    for (const other of all) {
      const place = other.getBoundingClientRect();
      if (down * (place.top - here.top) < here.height / 2) continue; // on this line, or behind
      if (!best || near(place) < near(best.getBoundingClientRect())) best = other;
    }
    return best;
  }
  document.addEventListener("keydown", (event) => {
    const word = event.target.closest?.(".answer-word");
    if (!word || event.ctrlKey || event.altKey || event.metaKey) return;
    if (!["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key)) return;
    event.preventDefault(); // the page would scroll
    beside(word, [...word.parentElement.querySelectorAll(".answer-word")], event.key)?.focus();
  });
  document.addEventListener("focusin", (event) => {
    const word = event.target.closest?.(".answer-word");
    if (!word) return;
    word.parentElement.querySelectorAll(".answer-word").forEach((other) => {
      other.tabIndex = other === word ? 0 : -1;
    });
  });
  return { nextTheme, toggleMenu, leave };
})();
