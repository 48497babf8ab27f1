// A worker in Node, without packages: takes jobs of the types that it has handlers for, several at a time.
//
//   JOBS_URL=http://127.0.0.1:8765 JOBS_KEY=jl_... node worker.mjs
//
// A handler gets the payload and a context; what it returns is the result, what it throws fails the attempt. SIGTERM:
// no new jobs, those under way are finished, then it ends. A server that is away by then is waited for a few seconds.
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";

const { JOBS_URL: base, JOBS_KEY: key, JOBS_QUEUE: queue = "default" } = process.env;
const concurrency = Number(process.env.CONCURRENCY ?? 4);
const heartbeatSeconds = Number(process.env.HEARTBEAT_SECONDS ?? 5);
const worker = `node-${hostname()}-${process.pid}-${Date.now()}`; // new with each start: leases are held in it

export class NeverRetry extends Error {}
export class RetryAfter extends Error {
  constructor(seconds, message = "asked to retry later") {
    super(message);
    this.seconds = seconds;
  }
}

// --- what this worker can do -----------------------------------------------------------------------------------------

const handlers = {
  async "invoice.pages"(payload, context) {
    const pages = [];
    for (let page = 1; page <= payload.pages; page++) {
      if (context.signal.aborted) throw context.signal.reason;
      pages.push(await context.step(`page-${page}`, () => `${payload.invoice_id}-${page}.pdf`));
      await context.progress(page / payload.pages, `page ${page} of ${payload.pages}`);
    }
    await context.log(`rendered ${pages.length} pages`);
    return { files: pages };
  },
  async "invoice.post"(payload, context) {
    if (payload.refused) throw new NeverRetry(`${payload.invoice_id} is refused`);
    if (payload.busy && context.attempt === 1) throw new RetryAfter(0, "the printer is busy");
    if (payload.seconds) await sleep(payload.seconds * 1000, null, { signal: context.signal });
    return { posted: payload.invoice_id };
  },
};

// --- talking to the server -------------------------------------------------------------------------------------------

const stopping = new AbortController();
for (const name of ["SIGTERM", "SIGINT"]) process.on(name, () => stopping.abort());
const isStopping = () => stopping.signal.aborted;
const lastMilliseconds = 3_000; // for what is left to say, once it is to stop

/** The answer to a POST. Tries again while the server is away or busy; an ending may be told twice. */
async function post(path, body, signal) {
  let giveUpAt = isStopping() ? Date.now() + lastMilliseconds : Infinity;
  for (let pause = 200; Date.now() < giveUpAt; pause = Math.min(10_000, pause * 2)) {
    const patience = AbortSignal.timeout(isStopping() ? lastMilliseconds : 60_000);
    try {
      const response = await fetch(base + path, {
        method: "POST", signal: AbortSignal.any([patience, signal ?? patience]), body: JSON.stringify({ worker, ...body }),
        headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      });
      const answer = await response.json();
      if (response.ok) return answer;
      if (response.status !== 429 && response.status < 500) throw Object.assign(new Error(answer.detail), answer);
    } catch (error) {
      if (error.status || signal?.aborted) throw error;
    }
    if (isStopping()) {
      giveUpAt = Math.min(giveUpAt, Date.now() + lastMilliseconds);
      await sleep(200);
    } else await sleep(pause, null, { signal: stopping.signal }).catch(() => {});
  }
  throw new Error("the server is away");
}

// --- one job ---------------------------------------------------------------------------------------------------------

const held = new Map(); // by job and attempt: named in heartbeats until the ending was answered

class Context {
  #lease; #steps; #stop = new AbortController();
  constructor(lease) {
    this.#lease = lease;
    this.#steps = new Map(lease.steps.map((step) => [step.step, step.output]));
  }
  get attempt() { return this.#lease.attempt; }
  get tenant() { return this.#lease.tenant; }
  get signal() { return this.#stop.signal; }
  stop(why) { this.#stop.abort(new Error(why)); }
  progress(fraction, note = "") { return this.#tell("progress", { fraction, note }); }
  log(...lines) { return this.#tell("log", { lines }); }
  /** Runs `work` once in the life of the job: what it returned is recorded, and later attempts get that. */
  async step(name, work) {
    if (!this.#steps.has(name)) this.#steps.set(name, (await this.#tell("step", { step: name, output: await work() })).output);
    return this.#steps.get(name);
  }
  async #tell(what, body) {
    const answer = await post(`${this.#lease.path}/${what}`, body);
    if (answer.cancel_requested) this.stop("cancel_requested");
    return answer;
  }
}

async function run(lease, context) {
  try {
    const result = await handlers[lease.type](lease.payload, context);
    return ["complete", { result }];
  } catch (error) {
    if (context.signal.aborted) return ["release", { reason: context.signal.reason.message }];
    return ["fail", {
      error_type: error.constructor.name, message: String(error.message ?? error), traceback: error.stack,
      never_retry: error instanceof NeverRetry, ...(error instanceof RetryAfter && { retry_after_seconds: error.seconds }),
    }];
  }
}

async function work(lease) {
  const context = new Context(lease);
  held.set(lease.path, { lease, context });
  try {
    while (lease.alone && held.size > 1) await sleep(50); // it may have killed workers: not beside others
    const [what, body] = await run(lease, context);
    await post(`${lease.path}/${what}`, body);
  } catch (error) {
    console.error(`${lease.path}: ${error.message}`); // the lease is lost: others have the job
  } finally {
    held.delete(lease.path);
  }
}

// --- the loops -------------------------------------------------------------------------------------------------------

let isRetiring = false;
let lastBeat = Promise.resolve(); // waited for before it retires: a heartbeat that comes after would list it again

async function beat() {
  for (;;) {
    await sleep(heartbeatSeconds * 1000, null, { ref: false });
    if (isRetiring) return;
    const named = [...held.values()].map(({ lease }) => ({ job_id: lease.job_id, attempt: lease.attempt }));
    const answered = post("/v1/leases/heartbeat", { held: named }).catch((error) => {
      if (error.status) throw error;
      return { held: [] }; // the server is away, and this worker is to stop: jobs under way go on
    });
    lastBeat = answered.catch(() => {});
    const answer = await answered;
    for (const { job_id, attempt, verdict } of answer.held) {
      if (verdict === "go_on" || verdict === "soft_timeout") continue;
      for (const { lease, context } of held.values()) {
        if (lease.job_id === job_id && lease.attempt === attempt) context.stop(verdict);
      }
    }
  }
}
beat().catch((error) => {
  console.error(error.message); // the key was revoked: others will run the jobs
  process.exit(1);
});

while (!isStopping()) {
  const limit = concurrency - held.size;
  if (limit <= 0) {
    await sleep(50);
    continue;
  }
  const wishes = {
    queues: [queue], types: Object.keys(handlers), limit, concurrency, wait_seconds: 20,
    code_version: process.env.CODE_VERSION ?? "", // histories show it
  };
  const claim = await post("/v1/leases/claim", wishes, stopping.signal).catch((error) => {
    if (!isStopping()) throw error; // the key may not, or the request is wrong: nothing to wait for
    return { leases: [] };
  });
  for (const lease of claim.leases) work(lease);
}
while (held.size > 0) await sleep(50);
isRetiring = true;
await lastBeat;
await post("/v1/leases/retire", {}).catch((error) => console.error(`not retired: ${error.message}`));
process.exit();
