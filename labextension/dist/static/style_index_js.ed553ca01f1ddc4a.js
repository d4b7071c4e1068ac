"use strict";(self.rspackChunkaegis_lab=self.rspackChunkaegis_lab||[]).push([["style_index_js"],{"./node_modules/css-loader/dist/cjs.js!./style/index.css"(e,a,o){var i=o("./node_modules/css-loader/dist/runtime/noSourceMaps.js"),t=o.n(i),r=o("./node_modules/css-loader/dist/runtime/api.js"),n=(o.n(r))()(t());n.push([e.id,`/* The panel: dense and calm, in the theme's own colours, readable at 300 px. */

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
  min-width: 220px;
  overflow: hidden;
  container-type: inline-size;
  background: var(--jp-layout-color1);
  color: var(--jp-ui-font-color1);
  font-family: var(--jp-ui-font-family);
  font-size: var(--jp-ui-font-size1);
  line-height: 1.4;
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
  white-space: nowrap;
  overflow: hidden;
  text-overflow: ellipsis;
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
  padding: 4px 5px;
  border: 0;
  border-bottom: 2px solid transparent;
  background: none;
  color: var(--aegis-quiet);
  font: inherit;
  font-size: var(--jp-ui-font-size1);
  cursor: pointer;
  white-space: nowrap;
}

/* Two even rows where one would not do. */
@container (max-width: 330px) {
  .aegis-Tabs {
    display: grid;
    grid-template-columns: 1.2fr 1fr 1fr;
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
  margin-left: 4px;
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

.aegis-Line-bar {
  display: flex;
  align-items: center;
}

.aegis-Line-bar > .aegis-Button {
  margin-right: 8px;
}

.aegis-Line-head {
  display: flex;
  flex: 1;
  flex-direction: column;
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

.aegis-Line-detail {
  padding: 6px 8px 10px 16px;
  background: var(--jp-layout-color0, var(--jp-layout-color1));
}

.aegis-Name,
.aegis-Term,
.aegis-Cut {
  min-width: 0;
  overflow: hidden;
  text-overflow: ellipsis;
  white-space: nowrap;
}

.aegis-Name,
.aegis-Term {
  flex: none;
  max-width: calc(100% - 64px);
}

.aegis-Name {
  font-weight: 600;
}

.aegis-Cut {
  flex: 0 1000 auto;
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

.aegis-Graph {
  flex: 1;
  min-height: 120px;
  overflow: auto;
}

.aegis-Chosen {
  flex: none;
  max-height: 50%;
  padding: 8px;
  overflow: auto;
  border-top: 1px solid var(--aegis-line);
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
.lm-TabBar-tab[data-aegis-count]:not([data-aegis-count=''])::after {
  position: absolute;
  margin: -10px 0 0 12px;
  min-width: 9px;
  padding: 0 3px;
  border-radius: 8px;
  background: var(--jp-error-color0);
  color: var(--jp-ui-inverse-font-color0);
  content: attr(data-aegis-count);
  font-size: 10px;
  line-height: 14px;
  text-align: center;
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
`,""]),o.d(a,{},{A:n})},"./node_modules/css-loader/dist/runtime/api.js"(e){e.exports=function(e){var a=[];return a.toString=function(){return this.map(function(a){var o="",i=void 0!==a[5];return a[4]&&(o+="@supports (".concat(a[4],") {")),a[2]&&(o+="@media ".concat(a[2]," {")),i&&(o+="@layer".concat(a[5].length>0?" ".concat(a[5]):""," {")),o+=e(a),i&&(o+="}"),a[2]&&(o+="}"),a[4]&&(o+="}"),o}).join("")},a.i=function(e,o,i,t,r){"string"==typeof e&&(e=[[null,e,void 0]]);var n={};if(i)for(var s=0;s<this.length;s++){var l=this[s][0];null!=l&&(n[l]=!0)}for(var d=0;d<e.length;d++){var p=[].concat(e[d]);i&&n[p[0]]||(void 0!==r&&(void 0===p[5]||(p[1]="@layer".concat(p[5].length>0?" ".concat(p[5]):""," {").concat(p[1],"}")),p[5]=r),o&&(p[2]&&(p[1]="@media ".concat(p[2]," {").concat(p[1],"}")),p[2]=o),t&&(p[4]?(p[1]="@supports (".concat(p[4],") {").concat(p[1],"}"),p[4]=t):p[4]="".concat(t)),a.push(p))}},a}},"./node_modules/css-loader/dist/runtime/noSourceMaps.js"(e){e.exports=function(e){return e[1]}},"./node_modules/style-loader/dist/runtime/injectStylesIntoStyleTag.js"(e){var a=[];function o(e){for(var o=-1,i=0;i<a.length;i++)if(a[i].identifier===e){o=i;break}return o}function i(e,i){for(var t={},r=[],n=0;n<e.length;n++){var s=e[n],l=i.base?s[0]+i.base:s[0],d=t[l]||0,p="".concat(l," ").concat(d);t[l]=d+1;var c=o(p),g={css:s[1],media:s[2],sourceMap:s[3],supports:s[4],layer:s[5]};if(-1!==c)a[c].references++,a[c].updater(g);else{var u=function(e,a){var o=a.domAPI(a);return o.update(e),function(a){a?(a.css!==e.css||a.media!==e.media||a.sourceMap!==e.sourceMap||a.supports!==e.supports||a.layer!==e.layer)&&o.update(e=a):o.remove()}}(g,i);i.byIndex=n,a.splice(n,0,{identifier:p,updater:u,references:1})}r.push(p)}return r}e.exports=function(e,t){var r=i(e=e||[],t=t||{});return function(e){e=e||[];for(var n=0;n<r.length;n++){var s=o(r[n]);a[s].references--}for(var l=i(e,t),d=0;d<r.length;d++){var p=o(r[d]);0===a[p].references&&(a[p].updater(),a.splice(p,1))}r=l}}},"./node_modules/style-loader/dist/runtime/insertBySelector.js"(e){var a={};e.exports=function(e,o){var i=function(e){if(void 0===a[e]){var o=document.querySelector(e);if(window.HTMLIFrameElement&&o instanceof window.HTMLIFrameElement)try{o=o.contentDocument.head}catch(e){o=null}a[e]=o}return a[e]}(e);if(!i)throw Error("Couldn't find a style target. This probably means that the value for the 'insert' parameter is invalid.");i.appendChild(o)}},"./node_modules/style-loader/dist/runtime/insertStyleElement.js"(e){e.exports=function(e){var a=document.createElement("style");return e.setAttributes(a,e.attributes),e.insert(a,e.options),a}},"./node_modules/style-loader/dist/runtime/setAttributesWithoutAttributes.js"(e,a,o){e.exports=function(e){var a=o.nc;a&&e.setAttribute("nonce",a)}},"./node_modules/style-loader/dist/runtime/styleDomAPI.js"(e){e.exports=function(e){if("u"<typeof document)return{update:function(){},remove:function(){}};var a=e.insertStyleElement(e);return{update:function(o){var i,t,r;i="",o.supports&&(i+="@supports (".concat(o.supports,") {")),o.media&&(i+="@media ".concat(o.media," {")),(t=void 0!==o.layer)&&(i+="@layer".concat(o.layer.length>0?" ".concat(o.layer):""," {")),i+=o.css,t&&(i+="}"),o.media&&(i+="}"),o.supports&&(i+="}"),(r=o.sourceMap)&&"u">typeof btoa&&(i+="\n/*# sourceMappingURL=data:application/json;base64,".concat(btoa(unescape(encodeURIComponent(JSON.stringify(r))))," */")),e.styleTagTransform(i,a,e.options)},remove:function(){var e;null===(e=a).parentNode||e.parentNode.removeChild(e)}}}},"./node_modules/style-loader/dist/runtime/styleTagTransform.js"(e){e.exports=function(e,a){if(a.styleSheet)a.styleSheet.cssText=e;else{for(;a.firstChild;)a.removeChild(a.firstChild);a.appendChild(document.createTextNode(e))}}},"./style/index.js"(e,a,o){var i=o("./node_modules/style-loader/dist/runtime/injectStylesIntoStyleTag.js"),t=o.n(i),r=o("./node_modules/style-loader/dist/runtime/styleDomAPI.js"),n=o.n(r),s=o("./node_modules/style-loader/dist/runtime/insertBySelector.js"),l=o.n(s),d=o("./node_modules/style-loader/dist/runtime/setAttributesWithoutAttributes.js"),p=o.n(d),c=o("./node_modules/style-loader/dist/runtime/insertStyleElement.js"),g=o.n(c),u=o("./node_modules/style-loader/dist/runtime/styleTagTransform.js"),m=o.n(u),f=o("./node_modules/css-loader/dist/cjs.js!./style/index.css"),x={};x.styleTagTransform=m(),x.setAttributes=p(),x.insert=l().bind(null,"head"),x.domAPI=n(),x.insertStyleElement=g(),t()(f.A,x),f.A&&f.A.locals&&f.A.locals}}]);