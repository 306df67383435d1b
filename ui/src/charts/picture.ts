/** Pixels of a line of text in a picture. */
const LINE = 18;
const MARGIN = 16;

/** What a strip is called and what its lines are, as the page shows it. */
function told(strip: HTMLElement): { text: string; color: string; line: boolean }[] {
  const text = (element: Element | null): string =>
    [...(element?.childNodes ?? [])]
      .map((node) => node.textContent?.trim())
      .filter(Boolean)
      .join(' ');
  const lines = [...strip.querySelectorAll('.label li')].map((item) => ({
    text: [...item.querySelectorAll('span, b')].map(text).join(' '),
    color: getComputedStyle(item.querySelector('i') ?? item).borderTopColor,
    line: true,
  }));
  const color = getComputedStyle(strip).color;
  const head = [text(strip.querySelector('h3')), text(strip.querySelector('.now'))].filter(Boolean).join(' ');
  return [{ text: head, color, line: false }, ...lines];
}

/**
 * The strips in an element as one picture, on the ground that they are seen on: above each what it is called and what its
 * lines are. Null where there is none.
 */
export function picture(host: HTMLElement, heading: string): Promise<Blob | null> {
  const strips = [...host.querySelectorAll<HTMLElement>('.strip')].flatMap((strip) => {
    const canvas = strip.querySelector('canvas');
    return canvas && canvas.width > 0 ? [{ canvas, words: told(strip) }] : [];
  });
  const whole = document.createElement('canvas');
  const pen = whole.getContext('2d');
  if (!pen || strips.length === 0) return Promise.resolve(null);
  const ratio = devicePixelRatio;
  const [line, margin] = [LINE * ratio, MARGIN * ratio];
  whole.width = Math.max(...strips.map(({ canvas }) => canvas.width)) + margin;
  whole.height = strips.reduce((sum, { canvas }) => sum + canvas.height + line * 1.5, line * 2);
  const style = getComputedStyle(host);
  pen.fillStyle = ground(host);
  pen.fillRect(0, 0, whole.width, whole.height);
  pen.textBaseline = 'middle';
  pen.fillStyle = style.color;
  pen.font = `600 ${13 * ratio}px ${style.fontFamily}`;
  pen.fillText(heading, margin, line);
  pen.font = `${11 * ratio}px ${style.fontFamily}`;
  let top = line * 2;
  for (const { canvas, words } of strips) {
    let left = margin;
    for (const { text, color, line: isLine } of words) {
      if (isLine) {
        pen.fillStyle = color;
        pen.fillRect(left, top + line / 2 - ratio, 10 * ratio, 2 * ratio);
        left += 16 * ratio;
      }
      pen.fillStyle = style.color;
      pen.fillText(text, left, top + line / 2);
      left += pen.measureText(text).width + margin;
    }
    pen.drawImage(canvas, 0, top + line);
    top += canvas.height + line * 1.5;
  }
  return new Promise((done) => whole.toBlob(done, 'image/png'));
}

/** The colour behind an element: of the nearest around it that has one. */
function ground(element: HTMLElement): string {
  for (let at: HTMLElement | null = element; at; at = at.parentElement) {
    const color = getComputedStyle(at).backgroundColor;
    if (color !== 'transparent' && !/^rgba\(.*, 0\)$/.test(color)) return color;
  }
  return 'Canvas';
}
