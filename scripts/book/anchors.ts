/** The anchors that GitHub and MyST give to headings: a second one of a name ends in -1, and so on. */
export function headingAnchors(markdown: string): Set<string> {
  const anchors = new Set<string>();
  const outsideFences = markdown.replace(/^```[^]*?^```/gm, '');
  for (const [, heading] of outsideFences.matchAll(/^#{1,6} +(.*)$/gm)) {
    const text = heading!
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .trim()
      .toLowerCase();
    const slug = text.replace(/[^\p{L}\p{N}\s_-]/gu, '').replace(/\s/g, '-');
    let anchor = slug;
    for (let n = 1; anchors.has(anchor); n++) anchor = `${slug}-${n}`;
    anchors.add(anchor);
  }
  return anchors;
}
