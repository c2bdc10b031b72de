"use strict";
// The secret is behind the # of the address, which no server sees. It is shown once for a
// cookie and a token; the token stays in this tab, the cookie alone does nothing.
const $ = id => document.getElementById(id);
let token = sessionStorage.getItem("token");
let until = 0, number = "";

async function post(path, body) {
  const r = await fetch(path, {
    method: "POST", credentials: "same-origin", cache: "no-store", redirect: "error",
    headers: { "Content-Type": "application/json", "X-Token": token || "" }, body: JSON.stringify(body),
  });
  if (!r.ok) throw Object.assign(new Error("" + r.status), { status: r.status });
  return r.json();
}

function state(text, bad) {
  $("state").textContent = text;
  $("state").className = bad ? "bad" : "";
}

function show(q) {
  $("question").hidden = !q;
  if (!q) { number = ""; state("Nobody asks for anything."); return }
  if (q.number !== number) {
    number = q.number;
    $("allow").disabled = $("deny").disabled = true;
    // What appears under a finger that was about to press something else must not be pressed.
    setTimeout(() => { if (number === q.number) $("allow").disabled = $("deny").disabled = false }, 600);
  }
  state("A client asks:");
  for (const k of ["from", "what", "message", "pad", "left", "number"]) $(k).textContent = q[k];
  $("leftname").hidden = $("left").hidden = !q.left;
  $("more").textContent = q.more ? " " + q.more + " more wait." : "";
  until = Date.now() + q.within;
  tick();
}

function tick() { $("within").textContent = Math.max(0, Math.ceil((until - Date.now()) / 1000)) }
setInterval(tick, 500);

async function answer(allow) {
  const n = number;
  $("allow").disabled = $("deny").disabled = true;
  try { await post("/answer", { number: n, allow }) } catch (e) { state(e.status === 409 ? "That question is gone." : "The device does not answer.", true) }
}
$("allow").onclick = () => answer(true);
$("deny").onclick = () => answer(false);

(async () => {
  const secret = location.hash.slice(1);
  if (secret) {
    history.replaceState(null, "", "/");
    try { token = (await post("/enter", { secret })).token; sessionStorage.setItem("token", token) } catch (e) { token = null }
  }
  for (let after = -1; ;) {
    if (!token) { state("This page needs the address that the device's terminal shows.", true); return }
    try {
      const s = await post("/state", { after });
      if (s.version !== after) { after = s.version; show(s.question) }
    } catch (e) {
      $("question").hidden = true;
      if (e.status === 403) { sessionStorage.removeItem("token"); token = null; continue }
      state("The device does not answer. It may have been stopped.", true);
      after = -1;
      await new Promise(r => setTimeout(r, 2000));
    }
  }
})();
