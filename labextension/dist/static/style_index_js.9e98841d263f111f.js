"use strict";(self.rspackChunkaegis_lab=self.rspackChunkaegis_lab||[]).push([["style_index_js"],{"./node_modules/css-loader/dist/cjs.js!./style/index.css"(e,a,i){var o=i("./node_modules/css-loader/dist/runtime/noSourceMaps.js"),t=i.n(o),r=i("./node_modules/css-loader/dist/runtime/api.js"),n=(i.n(r))()(t());n.push([e.id,`/* The panel: dense and calm, in the theme's own colours, made for 320 px and more. */

.aegis-Panel,
.aegis-StatusItem {
  /* Towards the theme's own black or white, until small text can be read in it. */
  --aegis-ok: color-mix(in srgb, var(--jp-success-color1) 75%, var(--jp-ui-font-color0));
  --aegis-busy: color-mix(in srgb, var(--jp-warn-color1) 55%, var(--jp-ui-font-color0));
  --aegis-bad: color-mix(in srgb, var(--jp-error-color1) 80%, var(--jp-ui-font-color0));
  --aegis-quiet: color-mix(in srgb, var(--jp-ui-font-color1) 74%, transparent);
  --aegis-line: var(--jp-border-color2);
  --aegis-hover: var(--jp-layout-color2);
}

.aegis-Panel {
  display: flex;
  flex-direction: column;
  height: 100%;
  min-width: 320px;
  overflow: hidden;
  container-type: inline-size;
  background: var(--jp-layout-color1);
  color: var(--jp-ui-font-color1);
  font-family: var(--jp-ui-font-family);
  font-size: var(--jp-ui-font-size1);
  line-height: 1.4;
}

/* In Notebook 7 a side bar knows nothing of the width of what is in it. */
[data-notebook] .aegis-Panel,
.aegis-Panel.aegis-mod-tab {
  min-width: 0;
}

/* Hidden wins over any display below. */
.aegis-Panel [hidden] {
  display: none !important;
}

.aegis-Panel p,
.aegis-Panel dl,
.aegis-Panel dd,
.aegis-Panel ol,
.aegis-Panel ul,
.aegis-Panel pre {
  margin: 0;
  padding: 0;
}

.aegis-Panel ul,
.aegis-Panel ol {
  list-style: none;
}

.aegis-Panel :focus-visible {
  outline: 2px solid var(--jp-brand-color1);
  outline-offset: -2px;
}

/* --- head ------------------------------------------------------------------------------------ */

.aegis-Head {
  flex: none;
}

.aegis-Bar {
  display: flex;
  align-items: center;
  gap: 6px;
  padding: 6px 8px;
  min-width: 0;
}

.aegis-Hosts {
  flex: 1 1 0;
  min-width: 0;
  font-weight: 600;
}

.aegis-Pulse {
  padding: 0 10px 6px !important;
  color: var(--aegis-quiet);
  font-size: var(--jp-ui-font-size0);
  font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere;
}

.aegis-Notice {
  display: flex;
  align-items: center;
  gap: 8px;
  padding: 6px 8px;
  border-left: 3px solid var(--aegis-busy);
  background: var(--jp-layout-color2);
  overflow-wrap: anywhere;
}

.aegis-Notice > p {
  flex: 1;
}

.aegis-Notice[data-mood='bad'] {
  border-left-color: var(--aegis-bad);
}

.aegis-Problems {
  max-height: 25vh;
  overflow: auto;
}

.aegis-Problems > li {
  padding: 4px 8px;
  border-left: 3px solid var(--aegis-bad);
  border-top: 1px solid var(--aegis-line);
  background: var(--jp-layout-color2);
  overflow-wrap: anywhere;
  white-space: pre-wrap;
}

/* --- controls -------------------------------------------------------------------------------- */

.aegis-Button,
.aegis-Select,
.aegis-Input {
  box-sizing: border-box;
  border: 1px solid var(--jp-border-color1);
  border-radius: 2px;
  background: var(--jp-layout-color1);
  color: var(--jp-ui-font-color1);
  font: inherit;
  font-size: var(--jp-ui-font-size1);
}

.aegis-Button {
  flex: none;
  padding: 1px 8px;
  line-height: 20px;
  cursor: pointer;
  white-space: nowrap;
}

.aegis-Select {
  height: 24px;
  padding: 0 4px;
}

.aegis-Input {
  flex: 1 1 0;
  min-width: 0;
  width: 100%;
  padding: 2px 6px;
  line-height: 18px;
  background: var(--jp-input-background, var(--jp-layout-color1));
}

.aegis-Input::placeholder {
  color: var(--aegis-quiet);
  opacity: 1;
}

textarea.aegis-Input {
  font-family: var(--jp-code-font-family);
  resize: vertical;
}

.aegis-Button.aegis-mod-icon {
  display: inline-flex;
  align-items: center;
  height: 24px;
  padding: 0 5px;
}

.aegis-Button:hover {
  background: var(--aegis-hover);
}

.aegis-Button[aria-disabled='true'] {
  opacity: 0.5;
  cursor: default;
}

.aegis-Button[aria-pressed='true'] {
  border-color: var(--jp-brand-color1);
  box-shadow: inset 0 0 0 1px var(--jp-brand-color1);
}

.aegis-Button.aegis-mod-danger {
  color: var(--aegis-bad);
}

.aegis-Button.aegis-mod-primary {
  border-color: var(--jp-brand-color1);
  background: var(--jp-brand-color1);
  color: var(--jp-layout-color0);
}

.aegis-Link {
  padding: 0;
  border: 0;
  background: none;
  color: var(--jp-content-link-color, var(--jp-brand-color1));
  font: inherit;
  text-align: left;
  text-decoration: underline;
  cursor: pointer;
  overflow-wrap: anywhere;
}

.aegis-Check {
  display: inline-flex;
  align-items: center;
  gap: 4px;
}

/* --- tabs ------------------------------------------------------------------------------------ */

.aegis-Body {
  display: flex;
  flex: 1;
  flex-direction: column;
  min-height: 0;
}

.aegis-Tabs {
  display: flex;
  flex: none;
  flex-wrap: wrap;
  border-bottom: 1px solid var(--aegis-line);
  padding: 0 4px;
}

.aegis-Tab {
  padding: 4px;
  border: 0;
  border-bottom: 2px solid transparent;
  background: none;
  color: var(--aegis-quiet);
  font: inherit;
  font-size: var(--jp-ui-font-size1);
  cursor: pointer;
  white-space: nowrap;
}

/* All in one row, with their counts. */
@container (max-width: 365px) {
  .aegis-Tabs {
    padding: 0 2px;
  }

  .aegis-Tab {
    font-size: var(--jp-ui-font-size0);
  }
}

.aegis-Tab:hover {
  color: var(--jp-ui-font-color1);
}

.aegis-Tab[aria-selected='true'] {
  border-bottom-color: var(--jp-brand-color1);
  color: var(--jp-ui-font-color1);
}

.aegis-Count {
  display: inline-block;
  min-width: 8px;
  padding: 0 4px;
  border-radius: 8px;
  background: var(--jp-layout-color3);
  color: var(--jp-ui-font-color1);
  font-size: var(--jp-ui-font-size0);
  line-height: 16px;
  text-align: center;
  font-variant-numeric: tabular-nums;
}

.aegis-Count[data-mood='bad'] {
  background: var(--aegis-bad);
  color: var(--jp-layout-color0);
}

.aegis-Page {
  flex: 1;
  min-height: 0;
  overflow: auto;
}

.aegis-Body:not([data-link='live']) > .aegis-Page {
  opacity: 0.65;
}

.aegis-Section > .aegis-Bar {
  position: sticky;
  top: 0;
  z-index: 1;
  border-bottom: 1px solid var(--aegis-line);
  background: var(--jp-layout-color1);
}

.aegis-Note {
  padding: 2px 8px !important;
  color: var(--aegis-quiet);
  font-size: var(--jp-ui-font-size0);
}

/* --- lists ----------------------------------------------------------------------------------- */

.aegis-Line {
  border-bottom: 1px solid var(--jp-border-color3, var(--aegis-line));
  border-left: 3px solid transparent;
  contain: content;
}

.aegis-Line[data-mood='bad'] {
  border-left-color: var(--aegis-bad);
}

.aegis-Line[data-mood='busy'],
.aegis-Line[data-mood='undone'] {
  border-left-color: var(--aegis-busy);
}

.aegis-Line-bar.aegis-mod-actions {
  display: flex;
  align-items: center;
}

.aegis-Line-bar > .aegis-Button {
  margin-right: 8px;
}

.aegis-Line-head {
  display: block;
  flex: 1;
  box-sizing: border-box;
  width: 100%;
  min-width: 0;
  padding: 4px 8px 4px 6px;
  border: 0;
  background: none;
  color: inherit;
  font: inherit;
  text-align: left;
}

button.aegis-Line-head {
  cursor: pointer;
}

button.aegis-Line-head:hover,
.aegis-Line-head[aria-expanded='true'] {
  background: var(--aegis-hover);
}

.aegis-Line-row {
  display: flex;
  align-items: baseline;
  gap: 6px;
  min-width: 0;
}

/* Lines that come by the hundred are plain text: that is the quickest to lay out. */
.aegis-Line-text {
  display: block;
  overflow: hidden;
  text-overflow: ellipsis;
  white-space: nowrap;
}

.aegis-Line-text > span {
  margin-left: 6px;
}

.aegis-Line-head > .aegis-Wrap,
.aegis-Line-head > .aegis-Cut {
  display: block;
}

.aegis-Line-detail {
  padding: 6px 8px 10px 16px;
  background: var(--jp-layout-color0, var(--jp-layout-color1));
}

.aegis-Name,
.aegis-Cut {
  min-width: 0;
  overflow: hidden;
  text-overflow: ellipsis;
  white-space: nowrap;
}

.aegis-Name {
  flex: none;
  max-width: calc(100% - 64px);
}

.aegis-Name {
  font-weight: 600;
}

.aegis-Cut {
  flex: 0 1000 auto;
}

.aegis-Title {
  display: block;
  font-weight: 600;
  overflow-wrap: anywhere;
}

.aegis-Quiet {
  flex-shrink: 1000;
  color: var(--aegis-quiet);
}

.aegis-Space {
  flex: 1;
}

.aegis-Wrap {
  overflow-wrap: anywhere;
  white-space: pre-wrap;
}

.aegis-Time {
  flex: none;
  color: var(--aegis-quiet);
  font-size: var(--jp-ui-font-size0);
  font-variant-numeric: tabular-nums;
}

.aegis-Level {
  flex: none;
  font-size: var(--jp-ui-font-size0);
}

.aegis-Level[data-mood='bad'],
.aegis-Problem {
  color: var(--aegis-bad);
}

.aegis-Level[data-mood='busy'] {
  color: var(--aegis-busy);
}

.aegis-Problem {
  overflow: hidden;
  overflow-wrap: anywhere;
  white-space: pre-wrap;
}

.aegis-Line-head > .aegis-Problem {
  display: -webkit-box;
  -webkit-box-orient: vertical;
  -webkit-line-clamp: 3;
}

.aegis-List-more {
  width: 100%;
  padding: 6px;
  border: 0;
  background: none;
  color: var(--jp-content-link-color, var(--jp-brand-color1));
  font: inherit;
  cursor: pointer;
}

/* A state is a word with a sign; its colour only helps. */
.aegis-Badge {
  flex: none;
  font-size: var(--jp-ui-font-size0);
  white-space: nowrap;
  color: var(--aegis-quiet);
}

.aegis-Badge::before {
  margin-right: 3px;
  content: '';
}

.aegis-Badge[data-mood='ok'] {
  color: var(--aegis-ok);
}

.aegis-Badge[data-mood='ok']::before {
  content: '✓' / '';
}

.aegis-Badge[data-mood='busy'],
.aegis-Badge[data-mood='undone'] {
  color: var(--aegis-busy);
}

.aegis-Badge[data-mood='busy']::before {
  content: '◔' / '';
}

.aegis-Badge[data-mood='undone']::before {
  content: '↺' / '';
}

.aegis-Badge[data-mood='bad'] {
  color: var(--aegis-bad);
}

.aegis-Badge[data-mood='bad']::before {
  content: '✕' / '';
}

/* --- details --------------------------------------------------------------------------------- */

.aegis-Facts {
  display: grid;
  grid-template-columns: max-content 1fr;
  gap: 2px 10px;
}

.aegis-Facts > dt {
  color: var(--aegis-quiet);
}

.aegis-Facts > dd {
  min-width: 0;
  overflow-wrap: anywhere;
  white-space: pre-wrap;
}

.aegis-Actions {
  display: flex;
  flex-wrap: wrap;
  gap: 6px;
  margin-top: 8px;
}

.aegis-Json,
.aegis-Sample > pre {
  max-height: 40vh;
  margin-top: 6px !important;
  padding: 6px !important;
  overflow: auto;
  border: 1px solid var(--aegis-line);
  background: var(--jp-layout-color0);
  font-family: var(--jp-code-font-family);
  font-size: var(--jp-code-font-size);
  line-height: 1.35;
  white-space: pre;
}

.aegis-Steps {
  margin-bottom: 8px !important;
}

.aegis-Steps > li {
  padding: 2px 0 2px 8px;
  border-left: 2px solid var(--aegis-line);
}

.aegis-Steps > li[data-mood='ok'] {
  border-left-color: var(--aegis-ok);
}

.aegis-Steps > li[data-mood='busy'] {
  border-left-color: var(--aegis-busy);
}

.aegis-Steps > li[data-mood='bad'] {
  border-left-color: var(--aegis-bad);
}

.aegis-Steps .aegis-Name {
  font-weight: 400;
}

/* An undo that has stopped, with the ways on. */
.aegis-Stopped {
  margin-bottom: 8px;
  padding: 4px 8px 8px;
  border-left: 3px solid var(--aegis-bad);
  background: var(--jp-layout-color2);
  overflow-wrap: anywhere;
}

/* The line above says of which flow they are, and what is wrong with it. */
.aegis-Line-detail :is(.aegis-Flow-head, .aegis-Flow-error) {
  display: none;
}

.aegis-Line-detail .aegis-Flow-steps {
  margin-bottom: 8px !important;
}

.aegis-Line-detail > .aegis-List-frame,
.aegis-Given {
  margin-top: 8px;
}

.aegis-Input[aria-invalid='true'] {
  border-color: var(--aegis-bad);
}

/* --- the past -------------------------------------------------------------------------------- */

.aegis-Found {
  display: flex;
  flex-direction: column;
  gap: 8px;
  padding: 8px;
}

.aegis-Found:empty {
  display: none;
}

.aegis-Found summary {
  cursor: pointer;
}

.aegis-Then {
  width: 100%;
}

.aegis-Then td,
.aegis-Then [scope='row'] {
  max-width: none;
  font-weight: normal;
  overflow-wrap: anywhere;
  vertical-align: top;
  white-space: pre-wrap;
}

.aegis-Room {
  display: flex;
  flex-direction: column;
  align-items: flex-start;
  gap: 8px;
  padding: 16px 12px;
  color: var(--aegis-quiet);
}

.aegis-Room-title {
  color: var(--jp-ui-font-color1);
  font-weight: 600;
}

.aegis-Sample {
  display: flex;
  flex-direction: column;
  align-items: flex-start;
  gap: 6px;
  width: 100%;
  color: var(--jp-ui-font-color1);
}

.aegis-Sample > pre {
  box-sizing: border-box;
  width: 100%;
}

/* --- graph ----------------------------------------------------------------------------------- */

.aegis-Section.aegis-mod-graph {
  display: flex;
  flex-direction: column;
  height: 100%;
}

.aegis-Canvas {
  display: flex;
  flex: 1;
  flex-direction: column;
  min-width: 0;
  min-height: 120px;
  overflow: auto;
}

/* A picture pans and scrolls in its own room; a table in its frame. */
.aegis-Canvas > .aegis-View {
  box-sizing: border-box;
  flex: 1;
  min-width: 0;
  min-height: 0;
  padding: 2px 6px 0;
}

.aegis-Chosen {
  box-sizing: border-box;
  flex: none;
  max-height: 50%;
  padding: 8px;
  overflow: auto;
  border-top: 1px solid var(--aegis-line);
}

.aegis-Chosen .aegis-Name {
  flex: 0 1 auto;
  max-width: none;
  overflow-wrap: anywhere;
  white-space: normal;
}

.aegis-Chosen .aegis-Facts {
  margin-top: 6px !important;
}

.aegis-Form {
  display: flex;
  flex-direction: column;
  gap: 6px;
  margin-top: 8px;
}

/* Where there is room, what is chosen stands beside the picture. */
@container (min-width: 860px) {
  .aegis-Section.aegis-mod-graph {
    display: grid;
    grid-template: auto minmax(0, 1fr) / minmax(0, 1fr) auto;
  }

  .aegis-mod-graph > .aegis-Bar {
    grid-column: 1 / -1;
  }

  .aegis-mod-graph > .aegis-Room {
    grid-area: 2 / 1;
  }

  .aegis-mod-graph > .aegis-Chosen {
    width: 300px;
    max-height: none;
    border-top: 0;
    border-left: 1px solid var(--aegis-line);
  }
}

/* In a column the room of a field is its height. */
.aegis-Form > .aegis-Input {
  flex: none;
}

/* --- what is told ---------------------------------------------------------------------------- */

.aegis-Told {
  flex: none;
  padding: 2px 8px;
  border-top: 1px solid var(--aegis-line);
  color: var(--aegis-quiet);
  font-size: var(--jp-ui-font-size0);
  line-height: 20px;
  overflow-wrap: anywhere;
}

.aegis-Told:empty {
  padding: 0;
  border: 0;
}

.aegis-Told[data-mood='bad']:not(:empty) {
  color: var(--aegis-bad);
}

.aegis-StatusItem {
  position: relative;
  height: 100%;
}

.aegis-StatusItem-button {
  display: flex;
  align-items: center;
  gap: 4px;
  height: 100%;
  padding: 0 4px;
  border: 0;
  background: none;
  color: inherit;
  font: inherit;
  font-variant-numeric: tabular-nums;
  cursor: pointer;
}

.aegis-StatusItem-button:hover {
  background: var(--aegis-hover);
}

.aegis-StatusItem-button[data-mood='bad'] .aegis-StatusItem-text {
  text-decoration: underline;
  text-decoration-color: var(--aegis-bad);
  text-underline-offset: 3px;
}

.aegis-Unseen {
  position: absolute;
  width: 1px;
  height: 1px;
  overflow: hidden;
  clip-path: inset(50%);
  white-space: nowrap;
}

/* How many things there are to look at, at the tab in the side bar. */
.lm-TabBar-tab[data-aegis-count]:not([data-aegis-count='']) {
  position: relative;
}

.lm-TabBar-tab[data-aegis-count]:not([data-aegis-count=''])::before {
  position: absolute;
  inset: 6px 1px auto auto;
  box-sizing: border-box;
  min-width: 14px;
  height: 14px;
  padding: 0 3px;
  border-radius: 7px;
  background: var(--jp-error-color0);
  color: var(--jp-ui-inverse-font-color0);
  content: attr(data-aegis-count) / '';
  font-size: 10px;
  line-height: 14px;
  text-align: center;
  writing-mode: horizontal-tb;
  pointer-events: none;
}

@media (prefers-reduced-motion: no-preference) {
  .aegis-Line-head,
  .aegis-Button {
    transition: background-color 80ms linear;
  }
}

@media (forced-colors: active) {
  .aegis-Tab[aria-selected='true'] {
    border-bottom-color: Highlight;
  }
}

/* --- plans and splits ------------------------------------------------------------------------ */

.aegis-Planning {
  border-bottom: 1px solid var(--aegis-line);
}

.aegis-Plan {
  display: flex;
  flex-direction: column;
  gap: 6px;
  padding: 2px 8px 8px;
  overflow-wrap: anywhere;
}

.aegis-Plan .aegis-View-scroll {
  max-height: 45vh;
  border: 1px solid var(--aegis-line);
}

.aegis-Plan .aegis-Note,
.aegis-Line-detail .aegis-Note {
  padding: 0 !important;
}

.aegis-Plan-lines {
  max-height: 30vh;
  overflow: auto;
}

.aegis-Plan-lines > li {
  display: flex;
  gap: 4px;
  padding: 1px 4px;
  border-left: 3px solid transparent;
  white-space: pre-wrap;
}

.aegis-Sign {
  flex: none;
  width: 1.2em;
  font-family: var(--jp-code-font-family);
  font-weight: 600;
  text-align: center;
}

.aegis-Plan-lines > [data-sign='+'] {
  border-left-color: var(--aegis-ok);
}

.aegis-Plan-lines > [data-sign='~'] {
  border-left-color: var(--aegis-busy);
}

.aegis-Plan-lines > :is([data-sign='-'], [data-sign='!'], [data-sign='x']) {
  border-left-color: var(--aegis-bad);
}

.aegis-Plan-lines > :is([data-sign='!'], [data-sign='x']),
.aegis-Plan-lines > [data-sign='-'] > .aegis-Sign {
  color: var(--aegis-bad);
}

.aegis-Plan-lines > [data-sign='+'] > .aegis-Sign {
  color: var(--aegis-ok);
}

.aegis-Plan-lines > [data-sign='~'] > .aegis-Sign {
  color: var(--aegis-busy);
}

.aegis-Share {
  display: inline-flex;
  align-items: center;
  gap: 4px;
}

.aegis-Input.aegis-mod-number {
  flex: none;
  width: 60px;
  height: 24px;
}

.aegis-Split {
  margin-top: 8px;
}

.aegis-Arms td[data-side],
.aegis-Arms thead > tr > th {
  text-align: right;
  font-variant-numeric: tabular-nums;
}

.aegis-Arms [data-mood='bad'] {
  color: var(--aegis-bad);
}

.aegis-Progress {
  flex: 1;
  min-width: 80px;
  height: 20px;
  accent-color: var(--jp-brand-color1);
}

.aegis-Unlike {
  padding: 2px 0 2px 8px;
  font-family: var(--jp-code-font-family);
  font-size: var(--jp-ui-font-size0);
}

.aegis-Sandbox {
  margin-top: 10px;
  padding-top: 8px;
  border-top: 1px solid var(--aegis-line);
}

.aegis-Sandbox-title {
  margin: 8px 0 4px;
  color: var(--aegis-quiet);
  font-size: var(--jp-ui-font-size0);
  font-weight: 600;
}

.aegis-Backtrace {
  max-height: 30vh;
  margin-top: 6px !important;
  padding: 6px !important;
  overflow: auto;
  border: 1px solid var(--aegis-line);
  background: var(--jp-layout-color0);
  font-family: var(--jp-code-font-family);
  font-size: var(--jp-code-font-size);
  list-style: none;
  overflow-wrap: anywhere;
}

.aegis-Backtrace .aegis-Quiet {
  padding-left: 6px;
  font-size: var(--jp-ui-font-size0);
}

.aegis-Sandbox-outcome:not(:empty) {
  margin-top: 6px;
}
`,""]),i.d(a,{},{A:n})},"./node_modules/css-loader/dist/cjs.js!./style/views.css"(e,a,i){var o=i("./node_modules/css-loader/dist/runtime/noSourceMaps.js"),t=i.n(o),r=i("./node_modules/css-loader/dist/runtime/api.js"),n=(i.n(r))()(t());n.push([e.id,`/* The views of a host, in the panel, in outputs and in widgets: in the theme's own colours. */

.aegis-View,
.aegis-Output {
  --aegis-ok: var(--jp-success-color1, #2e7d32);
  --aegis-busy: var(--jp-warn-color1, #b26a00);
  --aegis-bad: var(--jp-error-color1, #c62828);
  --aegis-quiet: var(--jp-ui-font-color2, #616161);
  --aegis-line: var(--jp-border-color2, #e0e0e0);
  --aegis-hover: var(--jp-layout-color2, #eee);
  --aegis-brand: var(--jp-brand-color1, #1976d2);
}

.aegis-Output {
  box-sizing: border-box;
  padding: 4px 0;
  color: var(--jp-ui-font-color1, #212121);
  font-family: var(--jp-ui-font-family, system-ui, sans-serif);
  font-size: var(--jp-ui-font-size1, 13px);
  line-height: 1.4;
}

.aegis-Output [hidden],
.aegis-View [hidden] {
  display: none !important;
}

.aegis-Output p,
.aegis-View p,
.aegis-View dl,
.aegis-View dd,
.aegis-View ol,
.aegis-View pre {
  margin: 0;
  padding: 0;
}

.aegis-View ol {
  list-style: none;
}

.aegis-View :focus-visible {
  outline: 2px solid var(--aegis-brand);
  outline-offset: -2px;
}

.aegis-View-link {
  margin-bottom: 4px;
  padding: 3px 8px;
  border-left: 3px solid var(--aegis-busy);
  background: var(--jp-layout-color2, #eee);
}

.aegis-View-bar {
  display: flex;
  align-items: center;
  gap: 4px;
  min-height: 28px;
}

.aegis-View-bar .aegis-Button,
.aegis-View-bar .aegis-Input {
  flex: none;
  box-sizing: border-box;
  height: 24px;
  padding: 0 8px;
  border: 1px solid var(--jp-border-color1, #bdbdbd);
  border-radius: 2px;
  background: var(--jp-layout-color1, #fff);
  color: inherit;
  font: inherit;
}

.aegis-View-bar .aegis-Button {
  cursor: pointer;
}

.aegis-View-bar .aegis-Input {
  flex: 0 1 220px;
  min-width: 60px;
}

.aegis-View-bar .aegis-Button:hover,
.aegis-View-bar .aegis-Button[aria-pressed='true'] {
  background: var(--aegis-hover);
}

.aegis-View-said,
.aegis-Graph-said {
  flex: 1 1 0;
  min-width: 0;
  overflow: hidden;
  color: var(--aegis-quiet);
  text-overflow: ellipsis;
  white-space: nowrap;
}

.aegis-View-empty,
.aegis-Quiet {
  color: var(--aegis-quiet);
}

.aegis-View-scroll {
  overflow: auto;
}

.aegis-Output .aegis-View-scroll {
  max-height: 420px;
}

.aegis-Output .aegis-Trace .aegis-View-scroll {
  max-height: 720px;
}

.aegis-Link {
  max-width: 100%;
  padding: 0;
  border: 0;
  overflow: hidden;
  background: none;
  color: inherit;
  font: inherit;
  text-align: left;
  text-decoration: underline dotted;
  text-overflow: ellipsis;
  cursor: pointer;
}

/* --- graph ----------------------------------------------------------------------------------- */

.aegis-Graph {
  display: flex;
  flex-direction: column;
  min-height: 0;
}

.aegis-Graph-room {
  flex: 1 1 auto;
  min-height: 80px;
  overflow: auto;
}

.aegis-Output .aegis-Graph-room {
  max-height: 620px;
}

/* A picture stays in its place, whatever its own styles say. */
.aegis-Graph-paper {
  position: relative !important;
  display: block !important;
  width: fit-content;
  min-width: 100%;
  contain: paint;
}

/* --- ports ----------------------------------------------------------------------------------- */

.aegis-Table {
  border-collapse: collapse;
  width: max-content;
  min-width: 100%;
  font-size: inherit;
}

.aegis-Table th,
.aegis-Table td {
  max-width: 260px;
  padding: 2px 8px;
  border-bottom: 1px solid var(--aegis-line);
  overflow: hidden;
  font-weight: normal;
  text-align: left;
  text-overflow: ellipsis;
  white-space: nowrap;
}

.aegis-Table thead th {
  position: sticky;
  top: 0;
  background: var(--jp-layout-color1, #fff);
}

.aegis-Table [scope='row'] {
  font-weight: 600;
}

.aegis-Table td[data-column='calls'],
.aegis-Table td[data-column='errors'],
.aegis-Table td[data-column='running'],
.aegis-Table td[data-column='p50'],
.aegis-Table td[data-column='p99'] {
  font-variant-numeric: tabular-nums;
  text-align: right;
}

.aegis-Table
  tr:is([data-state='failing'], [data-state='open'], [data-state='half-open'])
  td[data-column='state'],
.aegis-Table td[data-column='error'] {
  color: var(--aegis-bad);
}

.aegis-Table tr[data-state='ok'] td[data-column='state'] {
  color: var(--aegis-ok);
}

.aegis-Sort {
  padding: 0;
  border: 0;
  background: none;
  color: var(--aegis-quiet);
  font: inherit;
  cursor: pointer;
}

.aegis-Table [aria-sort='ascending'] .aegis-Sort::after {
  content: ' \\2191';
}

.aegis-Table [aria-sort='descending'] .aegis-Sort::after {
  content: ' \\2193';
}

/* --- events ---------------------------------------------------------------------------------- */

.aegis-Events-list {
  font-variant-numeric: tabular-nums;
}

.aegis-Event {
  border-bottom: 1px solid var(--aegis-line);
  contain: content;
}

.aegis-Event-head {
  display: grid;
  grid-template-columns: 9em 5.5em minmax(8em, 2fr) minmax(4em, 2fr) minmax(3em, 1fr);
  gap: 8px;
  width: 100%;
  padding: 1px 4px;
  border: 0;
  background: none;
  color: inherit;
  font: inherit;
  text-align: left;
  cursor: pointer;
}

.aegis-Event-head:hover {
  background: var(--aegis-hover);
}

.aegis-Event-head > * {
  overflow: hidden;
  text-overflow: ellipsis;
  white-space: nowrap;
}

.aegis-Event-head time,
.aegis-Event-gap,
.aegis-Event-about,
.aegis-Event-by {
  color: var(--aegis-quiet);
}

.aegis-Event-gap {
  text-align: right;
}

.aegis-Event-detail {
  padding: 4px 12px 8px;
  overflow-wrap: anywhere;
}

.aegis-Event-detail dl {
  display: grid;
  grid-template-columns: max-content 1fr;
  gap: 0 12px;
}

.aegis-Event-detail dt {
  color: var(--aegis-quiet);
}

.aegis-Event-detail pre {
  max-height: 240px;
  overflow: auto;
  font-family: var(--jp-code-font-family, monospace);
  font-size: var(--jp-code-font-size, 13px);
  white-space: pre-wrap;
}

/* --- flow ------------------------------------------------------------------------------------ */

.aegis-Output .aegis-Flow {
  max-height: 620px;
  overflow: auto;
}

.aegis-Flow-head {
  overflow-wrap: anywhere;
}

.aegis-Flow-error,
.aegis-Step-error,
[data-mood='bad'] > .aegis-Step-sign,
[data-mood='bad'] > .aegis-Step-state,
[data-mood='bad'] .aegis-Flow-state {
  color: var(--aegis-bad);
}

[data-mood='ok'] > .aegis-Step-sign,
[data-mood='ok'] > .aegis-Step-state,
[data-mood='ok'] .aegis-Flow-state {
  color: var(--aegis-ok);
}

[data-mood='busy'] > .aegis-Step-sign,
[data-mood='busy'] > .aegis-Step-state,
[data-mood='busy'] .aegis-Flow-state {
  color: var(--aegis-busy);
}

.aegis-Flow-error,
.aegis-Flow-stopped {
  overflow-wrap: anywhere;
}

.aegis-Flow-stopped,
.aegis-Step-waits {
  color: var(--aegis-quiet);
}

.aegis-Step-waits:not(:empty) + .aegis-Step-error:not(:empty)::before {
  content: ' \\00b7  ';
}

.aegis-Left {
  font-variant-numeric: tabular-nums;
}

.aegis-Step {
  content-visibility: auto;
  contain-intrinsic-size: auto 23px;
  position: relative;
  display: grid;
  grid-template-columns: 2em minmax(8em, 16em) 7em 9em 6em 2em minmax(0, 1fr);
  gap: 8px;
  padding: 2px 4px;
  border-left: 2px solid var(--aegis-line);
  contain: layout style;
}

.aegis-Step > * {
  min-width: 0;
  overflow: hidden;
  text-overflow: ellipsis;
  white-space: nowrap;
}

.aegis-Step-sign {
  font-weight: 700;
  text-align: center;
}

.aegis-Step-tries,
.aegis-Step-time {
  color: var(--aegis-quiet);
  font-variant-numeric: tabular-nums;
}

/* The way back: from the step that failed up to the first that was undone. */
.aegis-Step > .aegis-Step-back {
  position: relative;
  overflow: visible;
}

.aegis-Step[data-back] > .aegis-Step-back::before {
  content: '';
  position: absolute;
  inset: -3px auto -3px 50%;
  border-left: 2px dashed var(--aegis-bad);
}

.aegis-Step[data-back='turn'] > .aegis-Step-back::before {
  inset: -3px 50% 45% 0;
  border-right: 2px dashed var(--aegis-bad);
  border-bottom: 2px dashed var(--aegis-bad);
  border-left: 0;
}

.aegis-Step[data-back='end'] > .aegis-Step-back::before {
  inset: 55% auto -3px 50%;
}

.aegis-Step[data-back='end'] > .aegis-Step-back::after {
  content: '\\25b2';
  position: absolute;
  inset: 0 auto auto calc(50% - 0.42em);
  color: var(--aegis-bad);
  font-size: 10px;
}

/* --- narrow places --------------------------------------------------------------------------- */

.aegis-Flow,
.aegis-Events {
  container-type: inline-size;
}

@container (max-width: 640px) {
  .aegis-Step {
    grid-template-columns: 2.2em minmax(0, 1fr) max-content 1.5em;
    row-gap: 0;
  }

  .aegis-Step > .aegis-Step-tries,
  .aegis-Step > .aegis-Step-note {
    grid-column: 2 / -1;
    white-space: normal;
    overflow-wrap: anywhere;
  }

  .aegis-Step > .aegis-Step-back {
    grid-area: 1 / 4 / span 3;
  }

  .aegis-Step > .aegis-Step-time,
  .aegis-Step > :empty:not(.aegis-Step-back) {
    display: none;
  }

  .aegis-Event-head {
    grid-template-columns: 8.5em minmax(0, 1fr);
  }

  .aegis-Event-gap,
  .aegis-Event-by {
    display: none;
  }

  .aegis-Event-about {
    grid-column: 2;
  }
}

/* What a component runs as: a word in a frame, so that it does not need its colour. */
.aegis-Language {
  flex: none;
  padding: 0 4px;
  border: 1px solid var(--aegis-line);
  border-radius: 3px;
  color: var(--aegis-quiet);
  font-size: var(--jp-ui-font-size0, 11px);
  font-weight: normal;
  white-space: nowrap;
}

.aegis-Language[data-language='wasm'] {
  border-color: currentcolor;
}
`,""]),i.d(a,{},{A:n})},"./node_modules/css-loader/dist/runtime/api.js"(e){e.exports=function(e){var a=[];return a.toString=function(){return this.map(function(a){var i="",o=void 0!==a[5];return a[4]&&(i+="@supports (".concat(a[4],") {")),a[2]&&(i+="@media ".concat(a[2]," {")),o&&(i+="@layer".concat(a[5].length>0?" ".concat(a[5]):""," {")),i+=e(a),o&&(i+="}"),a[2]&&(i+="}"),a[4]&&(i+="}"),i}).join("")},a.i=function(e,i,o,t,r){"string"==typeof e&&(e=[[null,e,void 0]]);var n={};if(o)for(var s=0;s<this.length;s++){var l=this[s][0];null!=l&&(n[l]=!0)}for(var d=0;d<e.length;d++){var p=[].concat(e[d]);o&&n[p[0]]||(void 0!==r&&(void 0===p[5]||(p[1]="@layer".concat(p[5].length>0?" ".concat(p[5]):""," {").concat(p[1],"}")),p[5]=r),i&&(p[2]&&(p[1]="@media ".concat(p[2]," {").concat(p[1],"}")),p[2]=i),t&&(p[4]?(p[1]="@supports (".concat(p[4],") {").concat(p[1],"}"),p[4]=t):p[4]="".concat(t)),a.push(p))}},a}},"./node_modules/css-loader/dist/runtime/noSourceMaps.js"(e){e.exports=function(e){return e[1]}},"./node_modules/style-loader/dist/runtime/injectStylesIntoStyleTag.js"(e){var a=[];function i(e){for(var i=-1,o=0;o<a.length;o++)if(a[o].identifier===e){i=o;break}return i}function o(e,o){for(var t={},r=[],n=0;n<e.length;n++){var s=e[n],l=o.base?s[0]+o.base:s[0],d=t[l]||0,p="".concat(l," ").concat(d);t[l]=d+1;var g=i(p),c={css:s[1],media:s[2],sourceMap:s[3],supports:s[4],layer:s[5]};if(-1!==g)a[g].references++,a[g].updater(c);else{var u=function(e,a){var i=a.domAPI(a);return i.update(e),function(a){a?(a.css!==e.css||a.media!==e.media||a.sourceMap!==e.sourceMap||a.supports!==e.supports||a.layer!==e.layer)&&i.update(e=a):i.remove()}}(c,o);o.byIndex=n,a.splice(n,0,{identifier:p,updater:u,references:1})}r.push(p)}return r}e.exports=function(e,t){var r=o(e=e||[],t=t||{});return function(e){e=e||[];for(var n=0;n<r.length;n++){var s=i(r[n]);a[s].references--}for(var l=o(e,t),d=0;d<r.length;d++){var p=i(r[d]);0===a[p].references&&(a[p].updater(),a.splice(p,1))}r=l}}},"./node_modules/style-loader/dist/runtime/insertBySelector.js"(e){var a={};e.exports=function(e,i){var o=function(e){if(void 0===a[e]){var i=document.querySelector(e);if(window.HTMLIFrameElement&&i instanceof window.HTMLIFrameElement)try{i=i.contentDocument.head}catch(e){i=null}a[e]=i}return a[e]}(e);if(!o)throw Error("Couldn't find a style target. This probably means that the value for the 'insert' parameter is invalid.");o.appendChild(i)}},"./node_modules/style-loader/dist/runtime/insertStyleElement.js"(e){e.exports=function(e){var a=document.createElement("style");return e.setAttributes(a,e.attributes),e.insert(a,e.options),a}},"./node_modules/style-loader/dist/runtime/setAttributesWithoutAttributes.js"(e,a,i){e.exports=function(e){var a=i.nc;a&&e.setAttribute("nonce",a)}},"./node_modules/style-loader/dist/runtime/styleDomAPI.js"(e){e.exports=function(e){if("u"<typeof document)return{update:function(){},remove:function(){}};var a=e.insertStyleElement(e);return{update:function(i){var o,t,r;o="",i.supports&&(o+="@supports (".concat(i.supports,") {")),i.media&&(o+="@media ".concat(i.media," {")),(t=void 0!==i.layer)&&(o+="@layer".concat(i.layer.length>0?" ".concat(i.layer):""," {")),o+=i.css,t&&(o+="}"),i.media&&(o+="}"),i.supports&&(o+="}"),(r=i.sourceMap)&&"u">typeof btoa&&(o+="\n/*# sourceMappingURL=data:application/json;base64,".concat(btoa(unescape(encodeURIComponent(JSON.stringify(r))))," */")),e.styleTagTransform(o,a,e.options)},remove:function(){var e;null===(e=a).parentNode||e.parentNode.removeChild(e)}}}},"./node_modules/style-loader/dist/runtime/styleTagTransform.js"(e){e.exports=function(e,a){if(a.styleSheet)a.styleSheet.cssText=e;else{for(;a.firstChild;)a.removeChild(a.firstChild);a.appendChild(document.createTextNode(e))}}},"./style/index.js"(e,a,i){var o=i("./node_modules/style-loader/dist/runtime/injectStylesIntoStyleTag.js"),t=i.n(o),r=i("./node_modules/style-loader/dist/runtime/styleDomAPI.js"),n=i.n(r),s=i("./node_modules/style-loader/dist/runtime/insertBySelector.js"),l=i.n(s),d=i("./node_modules/style-loader/dist/runtime/setAttributesWithoutAttributes.js"),p=i.n(d),g=i("./node_modules/style-loader/dist/runtime/insertStyleElement.js"),c=i.n(g),u=i("./node_modules/style-loader/dist/runtime/styleTagTransform.js"),m=i.n(u),f=i("./node_modules/css-loader/dist/cjs.js!./style/index.css"),x={};x.styleTagTransform=m(),x.setAttributes=p(),x.insert=l().bind(null,"head"),x.domAPI=n(),x.insertStyleElement=c(),t()(f.A,x),f.A&&f.A.locals&&f.A.locals;var h=i("./node_modules/css-loader/dist/cjs.js!./style/views.css"),b={};b.styleTagTransform=m(),b.setAttributes=p(),b.insert=l().bind(null,"head"),b.domAPI=n(),b.insertStyleElement=c(),t()(h.A,b),h.A&&h.A.locals&&h.A.locals}}]);