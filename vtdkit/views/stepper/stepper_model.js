// What the interleaving stepper says and where it goes, without any element: the same words as record.py.

// The record with its rows as objects.
export function unfold(record) {
  return {
    ...record,
    last: record.steps.length - 1,
    sources: record.sources.map(([name, file, first, lines]) => ({ name, file, first, lines })),
    stands: record.stands.map(([code, line, next, state, held, path, ran]) => ({ code, line, next, state, held, path, ran })),
    steps: record.steps.map(([thread, did, stands, values, freed]) => ({ thread, did, stands, freed, values: values.map((i) => record.texts[i]) })),
    findings: record.findings.filter(([step]) => step).map(([step, title, text, places]) => ({ step, title, text, places })),
    before: record.findings.filter(([step]) => !step).map(([, title]) => title),
  };
}

export const standOf = (run, at, thread) => run.stands[run.steps[at].stands[thread]];

export function says(run, at) {
  const done = run.steps[at], parts = [`Step ${at} of ${run.last}`];
  if (at) parts.push(`${run.threads[done.thread]} did: ${done.did}`);
  if (done.freed.length) parts.push(`Freed: ${done.freed.join(", ")}`);
  for (const { step, title } of run.findings) if (step === at) parts.push(`FOUND: ${title}`);
  if (at === run.inevitable) parts.push("From here it must go wrong");
  if (at < run.last) parts.push(`Next: ${run.threads[run.steps[at + 1].thread]} will ${run.steps[at + 1].did}`);
  else parts.push(`The end; what came of it: ${run.outcome}`);
  return `${parts.join(". ")}.`;
}

export function states(run, at) {
  const mover = at < run.last ? run.steps[at + 1].thread : -1;
  return run.threads.map((name, thread) => {
    const { state, next, code } = standOf(run, at, thread);
    if (thread === mover) return "moves next";
    return state !== "ready" || code < 0 ? next : "could move";
  });
}

// Which words a step changed.
export function changed(run, at) {
  return run.words.map((word, i) => at > 0 && run.steps[at].values[i] !== run.steps[at - 1].values[i]);
}

// Every lock of the run in the order in which it turns up: its name, who has it at a position, who waits for it (numbers of threads).
export function locksAt(run, at) {
  run.locks ??= [...new Set(run.steps.flatMap(({ stands }) => stands.flatMap((i) => [...run.stands[i].held, ...wanted(run.stands[i])])))];
  const stands = run.threads.map((name, thread) => standOf(run, at, thread));
  const those = (does) => stands.flatMap((stand, thread) => (does(stand) ? [thread] : []));
  return run.locks.map((name) => ({ name, has: those(({ held }) => held.includes(name)), waits: those((stand) => wanted(stand).includes(name)) }));
}

// The lock that somebody waits for, in a list; a CPU is none.
function wanted({ state, next }) {
  const [, name] = (state === "waiting" && next.match(/^waits for (.+), which .+ has$/)) || [];
  return name && name !== "its CPU" ? [name] : [];
}

// How many steps there are to the next finding; undefined if none is to come.
export function ahead(run, at) {
  const steps = run.findings.map(({ step }) => step).filter((step) => step > at);
  return steps.length ? Math.min(...steps) - at : undefined;
}

// Everything freed up to a position, and when.
export function freedBy(run, at) {
  return run.steps.slice(0, at + 1).flatMap(({ freed }, step) => freed.map((what) => ({ step, what })));
}

// The next position in a direction at which another thread has begun to move; the end if there is none.
export function nextSwitch(run, at, direction) {
  for (let i = at + direction; i > 0 && i < run.last; i += direction) {
    if (run.steps[i].thread !== run.steps[i + 1].thread) return i;
  }
  return direction > 0 ? run.last : 0;
}
