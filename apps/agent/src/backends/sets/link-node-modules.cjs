// Loaded before a program where no mount can show its packages (`node --require`): Node looks for them in folders named
// node_modules, the program's own first, and in nothing else that both `import` and `require` heed. It lies beside them.
'use strict'
const fs = require('fs')
const path = require('path')

link(path.join(__dirname, 'node_modules'), path.resolve('node_modules'), true)

/** What the program brought along goes before, package by package. */
function link(packages, own, isFolder) {
  try {
    fs.symlinkSync(packages, own)
  } catch (error) {
    if (error.code !== 'EEXIST') throw error
    if (!isFolder || fs.lstatSync(own).isSymbolicLink()) return
    for (const name of fs.readdirSync(packages))
      link(path.join(packages, name), path.join(own, name), name.startsWith('@'))
  }
}
