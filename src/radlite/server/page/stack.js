/** Cards of uneven height in columns without holes. */

const ROW = 4;
const NARROWEST = 21;

/**
 * Keep the children of a grid stacked: each goes below the shortest column so far. Once it holds an answer it stays in its
 * column, so that nothing that is being read jumps aside; only when the last answer is there are all placed anew.
 * @param {HTMLElement} place a grid with rows of `ROW` pixels and `--columns` columns
 */
export function stack(place) {
  let [columns, waited] = [0, true];
  const lay = () => {
    const gap = parseFloat(getComputedStyle(place).columnGap);
    const least = NARROWEST * parseFloat(getComputedStyle(document.documentElement).fontSize);
    const count = Math.max(1, Math.floor((place.clientWidth + gap) / (least + gap)));
    const cards = /** @type {HTMLElement[]} */ ([...place.children]);
    const ends = Array(count).fill(0);
    const waits = cards.some((card) => card.classList.contains("waiting"));
    const anew = count !== columns || (waited && !waits && !place.contains(document.activeElement));
    for (const card of cards) {
      const held = anew ? -1 : Number(card.dataset.column ?? -1);
      const column = held < 0 ? ends.indexOf(Math.min(...ends)) : held;
      const rows = Math.ceil((card.getBoundingClientRect().height + gap) / ROW);
      card.style.gridArea = `${ends[column] + 1} / ${column + 1} / span ${rows} / span 1`;
      ends[column] += rows;
      if (card.classList.contains("waiting")) delete card.dataset.column;
      else card.dataset.column = String(column);
    }
    place.style.setProperty("--columns", String(count));
    [columns, waited] = [count, waits];
  };
  const sizes = new ResizeObserver(lay);
  new MutationObserver(() => {
    sizes.disconnect();
    for (const card of place.children) sizes.observe(card);
  }).observe(place, { childList: true });
}
