/* In an image with nothing else it stands in the place of Python, and prints the file that it is given. */
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--version") == 0) return puts("Python 3.0.0") == EOF;
    FILE *file = argc > 1 ? fopen(argv[1], "r") : NULL;
    if (file == NULL) return 2;
    for (int c; (c = getc(file)) != EOF;) putchar(c);
    return 0;
}
