import { expect, test } from 'vitest';
import { unusual, unusualWords } from './unusual';

/** Means of a week and the hour that goes on: `of` gives each from its hour of the day and the day, 7 being today. */
function week(of: (hour: number, day: number) => number | null): (number | null)[] {
  return Array.from({ length: 7 * 24 + 1 }, (_, i) => of(i % 24, Math.floor(i / 24)));
}

test('an hour is compared with the same hour of the days before, not with the others', () => {
  // Busy at midnight each day: that is usual then.
  expect(
    unusual(
      week((hour, day) => (hour === 0 ? 100 + day : 1)),
      1,
    ),
  ).toBeNull();
  const found = unusual(
    week((hour, day) => (hour === 0 ? (day === 7 ? 160 : 100 + day) : 160)),
    1,
  );
  expect(found).toMatchObject({ value: 160, usual: 103, days: 7 });
  expect(found && unusualWords(found, 'count').text).toBe('160 this hour, usually 103');
  expect(
    unusual(
      week((hour, day) => (hour === 0 && day === 7 ? 40 : 100)),
      1,
    ),
  ).toMatchObject({ value: 40 });
});

test('one strange day does not make another usual, and little is said of little', () => {
  const once = week((hour, day) => (hour === 0 && (day === 3 || day === 7) ? 500 : 100));
  expect(unusual(once, 1)?.usual).toBe(100);
  // Values that never differed: a little more is nothing, nor is much of next to nothing.
  expect(
    unusual(
      week((_, day) => (day === 7 ? 110 : 100)),
      1,
    ),
  ).toBeNull();
  expect(
    unusual(
      week((_, day) => (day === 7 ? 3 : 1)),
      5,
    ),
  ).toBeNull();
  // Widely spread values are far apart by themselves.
  expect(
    unusual(
      week((_, day) => (day === 7 ? 250 : 40 * day)),
      1,
    ),
  ).toBeNull();
});

test('with too few days before nothing is said', () => {
  expect(
    unusual(
      week((_, day) => (day === 7 ? 500 : day >= 5 ? 100 : null)),
      1,
    ),
  ).toBeNull();
  expect(
    unusual(
      week((_, day) => (day === 7 ? null : 100)),
      1,
    ),
  ).toBeNull();
  expect(unusual([], 1)).toBeNull();
});
