// Keeps what a page shows up to date while its operator wants that. It writes texts anew in the rows that are
// there, and says how many rows a reload would add: no row moves under the pointer.
const EVERY = 5000; // milliseconds
const CHOICE = "django_delayed.live";

const live = document.querySelector("[data-live-url]");
const part = (name) => live.querySelector(`[data-live-${name}]`);
// The page of a job is all in a form, and has nothing to fill in.
const CONTROLS = "form :is(button, input, select, textarea):not(.delayed-live *)";
let timer = null;
let isAsking = false;

function say(words) {
    // Set only when they are other words, for they are read aloud.
    if (part("status").textContent !== words) part("status").textContent = words;
}

function rowsOf(page) {
    return [...page.querySelectorAll("[data-live-row]")].map((row) => row.dataset.liveRow);
}

function write(element, fresh) {
    if (element.innerHTML === fresh.innerHTML) return;
    const link = element.querySelector("a");
    if (link) {
        // It is not replaced, for it may have the focus.
        link.textContent = fresh.textContent;
        link.href = fresh.querySelector("a")?.getAttribute("href") ?? link.href;
    } else element.replaceChildren(...fresh.childNodes);
}

function show(page) {
    const rows = rowsOf(document);
    const more = rowsOf(page).filter((name) => !rows.includes(name)).length;
    say(more ? `${live.dataset.more} ${more}` : "");
    part("reload").hidden = !more;

    const fresh = new Map([...page.querySelectorAll("[data-live]")].map((each) => [each.dataset.live, each]));
    for (const element of document.querySelectorAll("[data-live]")) {
        // What grows or shrinks would push a table away from under the pointer.
        if ("liveGrows" in element.dataset && document.querySelector("table:hover")) continue;
        const other = fresh.get(element.dataset.live) ?? inRowThatLeft(element);
        if (other) write(element, other);
    }
}

function inRowThatLeft(element) {
    if (!element.closest("[data-live-row]") || element.querySelector("form")) return null;
    const dash = document.createElement("td");
    dash.textContent = "–";
    return dash;
}

function isInForm() {
    const found = document.querySelector(`:is(${CONTROLS}):is(:focus, :hover)`) !== null;
    part("paused").hidden = !found;
    return found;
}

async function ask() {
    const response = await fetch(live.dataset.liveUrl, { cache: "no-store" });
    // Who is signed out is led to a form.
    if (!response.ok || response.redirected) throw new Error(response.statusText);
    return new DOMParser().parseFromString(await response.text(), "text/html");
}

async function look() {
    if (document.hidden || isAsking || isInForm()) return;
    isAsking = true;
    try {
        const page = await ask();
        if (!timer || isInForm()) return;
        show(page);
        if (page.querySelector("[data-live-over]")) stop(false);
    } catch {
        if (timer) stop(true);
    } finally {
        isAsking = false;
    }
}

function start() {
    stop(false);
    timer = setInterval(look, EVERY);
    look();
}

function stop(hasFailed) {
    clearInterval(timer);
    timer = null;
    part("paused").hidden = true;
    part("again").hidden = !hasFailed;
    say(hasFailed ? live.dataset.failed : "");
}

function choose(isOn) {
    localStorage.setItem(CHOICE, isOn ? "on" : "off");
    part("switch").setAttribute("aria-pressed", isOn);
    if (isOn) start();
    else stop(false);
}

part("switch").addEventListener("click", () => choose(part("switch").getAttribute("aria-pressed") === "false"));
part("again").addEventListener("click", () => {
    // The button goes, and the focus must not go with it.
    part("switch").focus();
    start();
});
if (localStorage.getItem(CHOICE) === "on") choose(true);
live.hidden = false;
