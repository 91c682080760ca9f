// Keeps what the page shows of a job's progress up to date, without loading the page again.
const EVERY = 2000; // milliseconds
const LONGEST = 30000;

function show(element, shown) {
    const part = (name) => element.querySelector(`[data-job-${name}]`);
    for (const name of ["words", "amount", "note"]) {
        // Set only when it is another text, for it may be read aloud.
        if (part(name).textContent !== shown[name]) part(name).textContent = shown[name];
    }
    const bar = element.querySelector("progress");
    if (shown.fraction === null) bar.removeAttribute("value");
    else bar.value = shown.fraction;
    bar.textContent = shown.amount;
}

function watch(element) {
    const again = element.querySelector("[data-job-again]");
    let pause = EVERY;

    async function look() {
        if (document.hidden) {
            document.addEventListener("visibilitychange", look, { once: true });
            return;
        }
        try {
            const response = await fetch(element.dataset.jobProgress, {
                headers: { Accept: "application/json" },
                cache: "no-store",
            });
            if (response.status === 403 || response.status === 404) {
                again.hidden = false;
                return;
            }
            // 410: its row is gone, which is said in JSON too.
            if (!response.ok && response.status !== 410) throw new Error(response.statusText);
            const shown = await response.json();
            show(element, shown);
            if (shown.is_over) return;
            pause = EVERY;
        } catch {
            pause = Math.min(2 * pause, LONGEST);
        }
        setTimeout(look, pause);
    }

    again.hidden = true;
    setTimeout(look, pause);
}

for (const element of document.querySelectorAll("[data-job-progress]:not([data-job-over])")) {
    if (element.querySelector("[data-job-again]")) watch(element);
}
