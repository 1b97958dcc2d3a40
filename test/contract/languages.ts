import type { RuntimeName, SubmissionBody } from '@errand/shared'

/** One program for each runtime: greets whom stdin names, from a second file, and prints its arguments. */
export interface Language {
  runtime: RuntimeName
  program: Pick<SubmissionBody, 'files' | 'entrypoint'>
  /** Prints `before`, then ends as `crashed` says. */
  crash: string
  crashed: { exit_code: number | null; signal: string | null }
  /** Its standard error then. */
  says: RegExp
}

const exits = (exit_code: number) => ({ exit_code, signal: null })
const program = (entrypoint: string, files: Record<string, string>): Language['program'] => ({
  entrypoint,
  files: Object.entries(files).map(([path, content]) => ({ path, content })),
})

export const languages: Language[] = [
  {
    runtime: 'python',
    program: program('app/main.py', {
      'app/main.py': `import sys
from helper import greet
print(greet(input()), *(f'[{arg}]' for arg in sys.argv[1:]))`,
      'app/helper.py': `def greet(name): return 'hello ' + name`,
    }),
    crash: `print('before', flush=True); raise ValueError('x')`,
    crashed: exits(1),
    says: /ValueError: x/,
  },
  {
    runtime: 'node',
    program: program('main.js', {
      'main.js': `const { greet } = require('./helper.js')
const name = require('fs').readFileSync('/dev/stdin', 'utf8').trim()
console.log(greet(name), ...process.argv.slice(2).map((arg) => '[' + arg + ']'))`,
      'helper.js': `exports.greet = (name) => 'hello ' + name`,
    }),
    crash: `console.log('before'); throw new Error('x')`,
    crashed: exits(1),
    says: /Error: x/,
  },
  {
    runtime: 'typescript',
    program: program('main.ts', {
      'main.ts': `import { readFileSync } from 'node:fs'
import { greet } from './helper'
const name: string = readFileSync(0, 'utf8').trim()
console.log(greet(name), ...process.argv.slice(2).map((arg) => '[' + arg + ']'))`,
      'helper.ts': `export const greet = (name: string): string => 'hello ' + name`,
    }),
    crash: `console.log('before'); throw new Error('x')`,
    crashed: exits(1),
    says: /Error: x/,
  },
  {
    runtime: 'bash',
    program: program('main.sh', {
      'main.sh': `. lib/helper.sh
read -r name; greet "$name"; printf ' [%s]' "$@"; echo`,
      'lib/helper.sh': `greet() { printf 'hello %s' "$1"; }`,
    }),
    crash: `echo before; set -u; echo "$nothing"`,
    crashed: exits(1),
    says: /nothing: unbound variable/,
  },
  {
    runtime: 'c',
    program: program('main.c', {
      'main.c': `#include <stdio.h>
#include "lib/helper.h"
int main(int argc, char **argv) {
  char name[64];
  if (scanf("%63s", name) != 1) return 1;
  greet(name);
  for (int i = 1; i < argc; i++) printf(" [%s]", argv[i]);
  puts("");
}`,
      'lib/helper.h': `void greet(const char *name);`,
      'lib/helper.c': `#include <stdio.h>
#include "helper.h"
void greet(const char *name) { printf("hello %s", name); }`,
    }),
    crash: `#include <stdio.h>
int main(void) { puts("before"); fflush(stdout); volatile int *p = 0; return *p; }`,
    crashed: { exit_code: null, signal: 'SIGSEGV' },
    says: /^$/,
  },
  {
    runtime: 'cpp',
    program: program('main.cpp', {
      'main.cpp': `#include <iostream>
#include "helper.hpp"
int main(int argc, char **argv) {
  std::string name;
  std::cin >> name;
  std::cout << greet(name);
  for (int i = 1; i < argc; i++) std::cout << " [" << argv[i] << "]";
  std::cout << std::endl;
}`,
      'helper.hpp': `#include <string>
std::string greet(const std::string &name);`,
      'helper.cpp': `#include "helper.hpp"
std::string greet(const std::string &name) { return "hello " + name; }`,
    }),
    crash: `#include <iostream>
int main() { std::cout << "before" << std::endl; throw 1; }`,
    crashed: { exit_code: null, signal: 'SIGABRT' },
    says: /terminate called/,
  },
  {
    runtime: 'java',
    program: program('src/org/example/Hello.java', {
      'src/org/example/Hello.java': `/* package wrong; */ package org.example;
import java.util.Scanner;
public class Hello {
  public static void main(String[] args) {
    var out = new StringBuilder(Helper.greet(new Scanner(System.in).nextLine()));
    for (var arg : args) out.append(" [").append(arg).append("]");
    System.out.println(out);
  }
}`,
      'src/org/example/Helper.java': `package org.example;
class Helper { static String greet(String name) { return "hello " + name; } }`,
    }),
    crash: `public class Main {
  public static void main(String[] args) { System.out.println("before"); throw new RuntimeException("x"); }
}`,
    crashed: exits(1),
    says: /RuntimeException: x/,
  },
  {
    runtime: 'go',
    program: program('main.go', {
      'go.mod': 'module example.org/hello\n',
      'main.go': `package main

import (
	"fmt"
	"os"

	"example.org/hello/helper"
)

func main() {
	var name string
	fmt.Scanln(&name)
	fmt.Print(helper.Greet(name))
	for _, arg := range os.Args[1:] {
		fmt.Printf(" [%s]", arg)
	}
	fmt.Println()
}`,
      'helper/helper.go': `package helper

func Greet(name string) string { return "hello " + name }`,
    }),
    crash: `package main

import "fmt"

func main() { fmt.Println("before"); panic("x") }`,
    crashed: exits(2),
    says: /panic: x/,
  },
  {
    runtime: 'rust',
    program: program('main.rs', {
      'main.rs': `mod helper;
fn main() {
    let mut name = String::new();
    std::io::stdin().read_line(&mut name).unwrap();
    print!("{}", helper::greet(name.trim()));
    for arg in std::env::args().skip(1) { print!(" [{arg}]"); }
    println!();
}`,
      'helper.rs': `pub fn greet(name: &str) -> String { format!("hello {name}") }`,
    }),
    crash: `fn main() { println!("before"); panic!("x") }`,
    crashed: exits(101),
    says: /panicked at/,
  },
  {
    runtime: 'ruby',
    program: program('main.rb', {
      'main.rb': `require_relative 'helper'
puts ([greet($stdin.gets.chomp)] + ARGV.map { |arg| "[#{arg}]" }).join(' ')`,
      'helper.rb': `def greet(name) = "hello #{name}"`,
    }),
    crash: `puts 'before'; $stdout.flush; raise 'x'`,
    crashed: exits(1),
    says: /x \(RuntimeError\)/,
  },
  {
    runtime: 'php',
    program: program('main.php', {
      'main.php': `<?php require 'helper.php';
echo greet(trim(fgets(STDIN)));
foreach (array_slice($argv, 1) as $arg) echo " [$arg]";
echo "\\n";`,
      'helper.php': `<?php function greet($name) { return "hello $name"; }`,
    }),
    crash: `<?php echo "before\\n"; throw new Exception('x');`,
    crashed: exits(255),
    says: /Uncaught Exception: x/,
  },
  {
    runtime: 'perl',
    program: program('main.pl', {
      'main.pl': `require './helper.pl';
chomp(my $name = <STDIN>);
print join(' ', greet($name), map { "[$_]" } @ARGV), "\\n";`,
      'helper.pl': `sub greet { return 'hello ' . shift } 1;`,
    }),
    crash: `$| = 1; print "before\\n"; die 'x';`,
    crashed: exits(255),
    says: /^x at main.pl/,
  },
  {
    runtime: 'lua',
    program: program('main.lua', {
      'main.lua': `local helper = require 'helper'
io.write(helper.greet(io.read()))
for _, value in ipairs(arg) do io.write(' [' .. value .. ']') end
print()`,
      'helper.lua': `return { greet = function(name) return 'hello ' .. name end }`,
    }),
    crash: `print('before') error('x')`,
    crashed: exits(1),
    says: /main.lua:1: x/,
  },
]

/** For each runtime with a compile step. */
export const wrongPrograms: { runtime: RuntimeName; code: string }[] = [
  { runtime: 'typescript', code: `const x: number = 'not a number'` },
  { runtime: 'c', code: `int main(void) { return nothing; }` },
  { runtime: 'cpp', code: `int main() { return nothing; }` },
  { runtime: 'java', code: `public class Main { int x = nothing; }` },
  {
    runtime: 'go',
    code: `package main

func main() { nothing() }`,
  },
  { runtime: 'rust', code: `fn main() { nothing(); let x: i32 = "error"; }` },
]
