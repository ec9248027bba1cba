/** Files that hold a report each. */

const LARGEST = 4 << 20;
const TABLES = /\.(csv|tsv|jsonl|parquet|xlsx?|ods|gz)$/i;
/** How files begin that are no plain text, though they may hold nothing else than text. @type {[string, string][]} */
const FORMATS = [
  ["%PDF-", "is a PDF: copy its text, and paste it"],
  ["{\\rtf", "is rich text: save it as plain text"],
  ["PK\x03\x04", "is a document or an archive: save it as plain text"],
];

/**
 * The text of a file, or why it is not opened. Text is UTF-8, or UTF-16 with its mark.
 * @param {File} file @returns {Promise<{text: string, why: string}>}
 */
export async function opened(file) {
  const refused = (/** @type {string} */ why) => ({ text: "", why });
  if (TABLES.test(file.name)) return refused("is a table: use Batch");
  if (file.size > LARGEST) return refused("is larger than 4 MiB");
  let bytes;
  try {
    bytes = new Uint8Array(await file.arrayBuffer());
  } catch {
    return refused("cannot be read"); // A folder, or a file that is gone.
  }
  const head = String.fromCharCode(...bytes.subarray(0, 5));
  const format = FORMATS.find(([start]) => head.startsWith(start));
  if (format) return refused(format[1]);
  if (String.fromCharCode(...bytes.subarray(128, 132)) === "DICM") return refused("is a DICOM file: copy its text, and paste it");
  const coding = { "\xff\xfe": "utf-16le", "\xfe\xff": "utf-16be" }[head.slice(0, 2)] ?? "utf-8";
  try {
    const text = new TextDecoder(coding, { fatal: true }).decode(bytes).replace(/\r\n?/g, "\n");
    if (text.includes("\0")) return refused("is no text file");
    return text.trim() ? { text, why: "" } : refused("is empty");
  } catch {
    return refused("is no text file in UTF-8");
  }
}
