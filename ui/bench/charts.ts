// Redraws charts and says how long that took: the panel's own strips, beside floors that draw the same numbers and nothing else.
import { flushSync, mount, unmount } from 'svelte';
import uPlot from 'uplot';
import '../src/kit/tokens.css';
import '../src/kit/base.css';
import { colorOf, theme } from '../src/charts/theme.svelte';
import { Noisy, TICK_MS } from './data.svelte';
import Grid from './Grid.svelte';

const SERIES = 8;
const POINTS = 3_600;
/** Charts that fit on the screen. */
const VISIBLE = 6;
const MANY = 16;
const WARM_UP = 5;
const TOP = 110;

const asked = new URLSearchParams(location.search);
const rounds = Number(asked.get('rounds') ?? 40);
const seconds = Number(asked.get('seconds') ?? 20);

/** Milliseconds of each redraw: until its calls had returned, and until a pixel of each canvas could be read. */
interface Redraws {
  name: string;
  script: number[];
  drawn: number[];
}

/** What the main thread did while charts ticked, or while nothing did. */
interface Spell {
  name: string;
  /** Milliseconds between beats of a timer that is due every 4 ms. */
  beats: number[];
  /** Milliseconds that each tick's own calls took. */
  script: number[];
  lasted: number;
}

interface Way {
  name: string;
  /** Makes the next tick's numbers; that is no part of a redraw. */
  tick(): void;
  /** Draws them; the canvases are drawn when what it returns is settled. */
  draw(): Promise<void> | void;
  end(): void;
}

const place = document.getElementById('charts');
if (!place) throw new Error('find the element #charts');
const host = place;
const frame = () => new Promise(requestAnimationFrame);
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const charts = (count: number) => Array.from({ length: count }, (_, i) => new Noisy(i + 1, SERIES, POINTS));

function strips(): Way {
  const noisy = charts(VISIBLE);
  const grid = mount(Grid, { target: host, props: { charts: noisy } });
  return {
    name: 'strips',
    tick: () => noisy.forEach((chart) => chart.tick()),
    draw: () => {
      flushSync();
      // uPlot draws in a microtask.
      return Promise.resolve();
    },
    end: () => void unmount(grid),
  };
}

/** As wide and as high as the strips' pictures. */
function boxes(): HTMLElement[] {
  return Array.from({ length: VISIBLE }, () => {
    const box = document.createElement('div');
    Object.assign(box.style, { height: '130px', marginLeft: '146px' });
    host.append(box);
    return box;
  });
}

const empty = () => host.replaceChildren();

function bareUplot(): Way {
  const noisy = charts(VISIBLE);
  const plots = boxes().map((box) => {
    const series = Array.from({ length: SERIES }, (_, i) => ({ stroke: colorOf(theme.current, i + 1), width: 1.4 }));
    const scales = { y: { range: [0, TOP] as [number, number] } };
    const size = { width: box.clientWidth, height: 130 };
    return new uPlot({ ...size, ms: 1, scales, series: [{}, ...series], legend: { show: false } }, [[]], box);
  });
  return {
    name: 'bare uPlot',
    tick: () => noisy.forEach((chart) => chart.tick()),
    draw: () => {
      noisy.forEach((chart, i) => {
        plots[i]?.setData([chart.times, ...chart.lines.map((line) => line.values)]);
      });
      return Promise.resolve();
    },
    end: () => {
      for (const plot of plots) plot.destroy();
      empty();
    },
  };
}

function bareCanvas(): Way {
  const noisy = charts(VISIBLE);
  const canvases = boxes().map((box) => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [(box.clientWidth - 68) * devicePixelRatio, 110 * devicePixelRatio];
    box.append(canvas);
    return canvas;
  });
  return {
    name: 'bare polylines',
    tick: () => noisy.forEach((chart) => chart.tick()),
    draw: () => {
      noisy.forEach((chart, n) => {
        const pen = canvases[n]?.getContext('2d');
        if (!pen) return;
        const { width, height } = pen.canvas;
        pen.clearRect(0, 0, width, height);
        pen.lineWidth = 1.4 * devicePixelRatio;
        for (const line of chart.lines) {
          pen.strokeStyle = colorOf(theme.current, line.color);
          pen.beginPath();
          line.values.forEach((value, i) => pen.lineTo((i / POINTS) * width, (1 - (value ?? 0) / TOP) * height));
          pen.stroke();
        }
      });
    },
    end: empty,
  };
}

/** Reading a pixel waits for everything that is to be drawn on its canvas. */
function settle(): void {
  for (const canvas of document.querySelectorAll('canvas')) canvas.getContext('2d')?.getImageData(0, 0, 1, 1);
}

async function redraws(make: () => Way): Promise<Redraws> {
  const way = make();
  // What comes into view is drawn with the next frame.
  await frame();
  await pause(100);
  const found: Redraws = { name: way.name, script: [], drawn: [] };
  for (let round = -WARM_UP; round < rounds; round += 1) {
    await frame();
    way.tick();
    const begun = performance.now();
    await way.draw();
    const called = performance.now();
    settle();
    const done = performance.now();
    if (round < 0) continue;
    found.script.push(called - begun);
    found.drawn.push(done - begun);
  }
  way.end();
  return found;
}

async function spell(name: string, tick: () => void): Promise<Spell> {
  const found: Spell = { name, beats: [], script: [], lasted: 0 };
  const begun = performance.now();
  let last = begun;
  let due = begun + TICK_MS;
  while (last - begun < seconds * 1_000) {
    await pause(0);
    const now = performance.now();
    found.beats.push(now - last);
    last = now;
    if (now < due) continue;
    due += TICK_MS;
    // In a task of its own, as a frame of the engine comes.
    setTimeout(() => {
      const started = performance.now();
      tick();
      void Promise.resolve().then(() => found.script.push(performance.now() - started));
    });
  }
  found.lasted = last - begun;
  return found;
}

async function ticking(): Promise<Spell[]> {
  const noisy = charts(MANY);
  const grid = mount(Grid, { target: host, props: { charts: noisy } });
  await pause(500);
  const still = await spell('nothing ticks', () => undefined);
  const busy = await spell(`${MANY} charts tick`, () => {
    for (const chart of noisy) chart.tick();
    flushSync();
  });
  await unmount(grid);
  return [still, busy];
}

async function measured(): Promise<object> {
  try {
    // In turn, so that what else the machine does falls on all alike.
    const ways = [];
    for (const make of [strips, bareUplot, bareCanvas]) ways.push(await redraws(make));
    const { innerWidth, innerHeight, devicePixelRatio } = window;
    const spells = await ticking();
    return { browser: navigator.userAgent, innerWidth, innerHeight, devicePixelRatio, ways, spells };
  } catch (error) {
    return { failed: error instanceof Error ? `${error.message}\n${error.stack}` : String(error) };
  }
}

const headers = { 'content-type': 'application/json' };
await fetch('done', { method: 'POST', headers, body: JSON.stringify(await measured()) });
