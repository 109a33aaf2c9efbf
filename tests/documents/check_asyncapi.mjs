// Prints the official parser's diagnostics of the document on stdin, one JSON line each.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const require = createRequire(`${process.argv[2]}/`) // the folder that the parser was installed into
const { Parser } = require('@asyncapi/parser')
const { document, diagnostics } = await new Parser().parse(readFileSync(0, 'utf8'))
for (const { code, message, path } of diagnostics) {
  console.log(JSON.stringify({ code, message, path: path.join('.') }))
}
if (document) console.log(JSON.stringify({ operations: document.operations().all().length }))
