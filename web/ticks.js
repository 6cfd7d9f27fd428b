"use strict";
/* Where a time axis has its ticks and what they say: round times of the reader's clock, with the date wherever a span is longer than some minutes. */
const MINUTE = 60000, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const TIME_STEPS = [1000, 5000, 10000, 15000, 30000, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR,
  12 * HOUR, DAY, 2 * DAY, 5 * DAY, 7 * DAY, 14 * DAY];

function midnight(ms, days = 0) {
  const at = new Date(ms);
  return new Date(at.getFullYear(), at.getMonth(), at.getDate() + days).getTime();
}

/* Days are counted through the calendar, so that a change of summer time moves no midnight. */
function dayTicks(min, max, days) {
  const out = [];
  for (let at = midnight(min, min > midnight(min) ? 1 : 0); at <= max; at = midnight(at, 1))
    if (Math.round((at - new Date(at).getTimezoneOffset() * MINUTE) / DAY) % days === 0) out.push(at);
  return out;
}

/* At most `most` round times between two; { step, times }. */
function timeTicks(min, max, most) {
  const step = TIME_STEPS.find((one) => (max - min) / one <= most) || TIME_STEPS[TIME_STEPS.length - 1];
  if (step >= DAY) return { step, times: dayTicks(min, max, step / DAY) };
  const times = [], origin = midnight(min);
  for (let at = origin + Math.ceil((min - origin) / step) * step; at <= max; at += step) times.push(at);
  return { step, times };
}

/* The words of each tick; with dates, the first of each day carries it in a second line. */
function timeWords({ step, times }, dated) {
  if (step >= DAY) return times.map(format.day);
  const clock = step < MINUTE ? format.clock : format.minute;
  return times.map((at, i) => dated && (i === 0 || format.day(times[i - 1]) !== format.day(at)) ? [clock(at), format.day(at)] : clock(at));
}
