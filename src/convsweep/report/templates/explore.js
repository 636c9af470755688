// Runs once when the page is ready, then after each change of a widget and after each zoom.
const is_start = cb_data?.event_name == "document_ready";
if (!is_start && source.name == null) return;  // Bokeh resets plots while the page loads
const given = new URLSearchParams(is_start ? location.hash.slice(1) : "");
for (const [name, widget] of Object.entries(controls)) {
  const options = widget.options?.map(([value]) => value);
  const values = given.getAll(name).filter(value => options?.includes(value) ?? true);
  if (given.has(name) && Array.isArray(widget.value)) widget.value = values;
  else if (values.length) widget.value = values[0];
}

const address = new URLSearchParams();
for (const [name, {value}] of Object.entries(controls)) {
  if (`${value}` == `${start[name]}`) continue;
  for (const one of value.length ? [value].flat() : [""]) address.append(name, one);
}
const [x, y, color, order] = ["x", "y", "color", "order"].map(name => controls[name].value);
if (source.name != `${address}`) {
  const {data} = coded;
  const wanted = Object.keys(names).filter(name => controls[name]?.value.length)
    .map(name => [data[name], controls[name].value.map(value => names[name].indexOf(value))]);
  const text = controls.find.value.toLowerCase();
  const found = names.label.map(label => label.toLowerCase().includes(text));
  const key = data[order == "label" ? order : `${order}_value`];
  const sign = ["label", "time", "error", "memory"].includes(order) ? 1 : -1;
  const rows = Array.from(data.label.keys())
    .filter(i => found[data.label[i]])
    .filter(i => wanted.every(([codes, allowed]) => allowed.includes(codes[i])))
    .sort((a, b) => isNaN(key[a]) - isNaN(key[b]) || sign * (key[a] - key[b]));

  const take = (column, value) => Array.from(rows, i => value ? value[column[i]] : column[i]);
  const shown = {};
  for (const name in data) shown[name] = take(data[name], names[name]);
  shown.x = take(data[x], axes[x].places);
  for (const end of ["value", "low", "high"]) shown[end] = shown[`${y}_${end}`];
  for (const part of ["color", "marker"]) {
    shown[part] = take(data[color], looks[color].map(look => look[part]));
  }
  const lines = {};
  for (const i of Array.from(rows.keys()).sort((a, b) => shown.x[a] - shown.x[b])) {
    (lines[shown[`line_${x}`][i]] ??= []).push(i);
  }
  const drawn = Object.values(lines).filter(line => line.length > 1);
  const along = name => drawn.map(line => line.map(i => shown[name][i]));

  plot.x_scale = axes[x].scale;
  plot.x_range.scale_hint = axes[x].hint;
  plot.below[0].setv(axes[x].axis);
  plot.left[0].axis_label = measures[y];
  same.visible = ["speedup", "setting"].includes(y);
  source.data = shown;
  paths.data = {xs: along("x"), ys: along("value"), color: drawn.map(line => shown.color[line[0]])};
  const used = new Set(rows.map(i => data[color][i]));
  const entries = looks[color].filter((_, code) => used.has(code)).map(look => look.entry);
  const [few, all] = [rows, data.label].map(cases => cases.length.toLocaleString("en"));
  legend.text = `${few} of ${all} cases<br>${entries.join(" &emsp;")}`;
  if (!is_start && source.tags[0] != x + y) plot.reset.emit();
  source.setv({name: `${address}`, tags: [x + y]});
}

const ranges = [plot.x_range, plot.y_range], zoom = given.getAll("zoom").map(Number);
if (zoom.length == 4 && zoom.every(Number.isFinite)) {
  ranges.forEach((range, i) => {
    range.have_updated_interactively = true;
    range.setv({start: zoom[2 * i], end: zoom[2 * i + 1]});
  });
}
if (plot.x_range.have_updated_interactively) {
  const ends = ranges.flatMap(range => [range.start, range.end]);
  ends.forEach(end => address.append("zoom", end.toPrecision(4)));
}
if (is_start) addEventListener("hashchange", () => location.reload());
history.replaceState(null, "", `#${address}`);
