import { render } from "preact";
import { App } from "./app";
import { language } from "./i18n";
import { comeEarly } from "./live";
import { place } from "./router";
import "./styles.css";

/** Views whose first document has the address of the view, in the API; the server has the browser fetch it ahead. */
const ALIKE = ["builds", "images", "containers", "volumes", "networks", "disk"];

document.documentElement.lang = language.value;
const view = place.value.parts[0] ?? "builds";
if (ALIKE.includes(view) && !location.search) await comeEarly(["", location.pathname === "/" ? "/builds" : location.pathname]);
const root = document.getElementById("app");
if (root) render(<App />, root);
