import { render } from "preact";
import { App } from "./app";
import { language } from "./i18n";
import "./styles.css";

document.documentElement.lang = language.value;
const root = document.getElementById("app");
if (root) render(<App />, root);
