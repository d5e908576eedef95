// node check.mjs [--faults] FILE...: checks dashboards against dashboard.ts. TypeScript widens what it imports as JSON ("stat" becomes
// any string), so each file is checked as a literal in a source of its own, which is made in memory, line for line.
// With --faults, the first file is also checked with one fault at a time, and each has to be found: a check that cannot fail says nothing.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const here = dirname(fileURLToPath(import.meta.url));
const options = {
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  noEmit: true,
  skipLibCheck: true,
  strict: true,
  target: ts.ScriptTarget.ES2022,
  types: [],
};
const parsed = new Map();

/** Checks named texts, and gives the diagnostics. */
function check(texts) {
  const sources = new Map(
    [...texts].map(([name, text]) => [
      join(here, `${name}.ts`),
      `import type { File } from './dashboard'; export default ${text.trimEnd()} satisfies File;\n`,
    ]),
  );
  const host = ts.createCompilerHost(options);
  const { fileExists, getSourceFile, readFile } = host;
  host.fileExists = (path) => sources.has(path) || fileExists(path);
  host.readFile = (path) => sources.get(path) ?? readFile(path);
  host.getSourceFile = (path, ...rest) => {
    const text = sources.get(path);
    if (text !== undefined) return ts.createSourceFile(path, text, options.target);
    if (!parsed.has(path)) parsed.set(path, getSourceFile(path, ...rest));
    return parsed.get(path);
  };
  return ts.getPreEmitDiagnostics(ts.createProgram([...sources.keys()], options, host));
}

function show(diagnostics) {
  const host = { getCanonicalFileName: (name) => name, getCurrentDirectory: () => here, getNewLine: () => '\n' };
  return ts.formatDiagnostics(diagnostics, host);
}

const faults = {
  'a type that no panel has': (file) => (file.panels[0].type = 'timeserie'),
  'a title that is a number': (file) => (file.panels[0].title = 7),
  'a place that is a word': (file) => (file.panels[0].gridPos.w = '12'),
  'a misspelt field': (file) => (file.panels[0].fieldConfig.defaults.units = 's'),
  'an option that is none': (file) => (file.panels[0].options.colourMode = 'value'),
  'a value that the option lacks': (file) => (file.panels.at(-1).options.legend.displayMode = 'lists'),
  'a query without expression': (file) => delete file.panels[0].targets[0].expr,
  'a sort order that is a word': (file) => (file.templating.list.at(-1).sort = 'ascending'),
  'a refresh that is a number': (file) => (file.refresh = 15),
};

const words = process.argv.slice(2);
const files = words.filter((word) => word !== '--faults');
const texts = new Map(files.map((path) => [path.replaceAll('/', '_'), readFileSync(path, 'utf8')]));
const found = check(texts);
if (files.length === 0 || found.length > 0) {
  console.error(files.length === 0 ? 'usage: node check.mjs [--faults] FILE...' : show(found));
  process.exit(1);
}
if (words.includes('--faults')) {
  const [[name, text]] = texts;
  const faulty = new Map(
    Object.entries(faults).map(([what, spoil]) => {
      const file = JSON.parse(text);
      spoil(file);
      return [`${name} with ${what}`, JSON.stringify(file, null, 2)];
    }),
  );
  const caught = new Set(check(faulty).map(({ file }) => file.fileName));
  const missed = [...faulty.keys()].filter((faultyName) => !caught.has(join(here, `${faultyName}.ts`)));
  if (missed.length > 0) {
    console.error(`not found: ${missed.join('; ')}`);
    process.exit(1);
  }
}
console.log(`${files.length} dashboards are what Grafana takes`);
