// Draws the book's figures, each where its image stands, with the book's one copy of plotly.js.
for (const place of document.querySelectorAll('.alignbook-figure')) {
  const { data, layout, frames } = JSON.parse(place.querySelector('script').textContent);
  const drawn = document.createElement('div');
  drawn.style.height = `${layout.height ?? 450}px`;
  place.querySelector('img, p').replaceWith(drawn);
  Plotly.newPlot(drawn, { data, layout, frames, config: { responsive: true } });
}
