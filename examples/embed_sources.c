/* Writes the files it is given into a C source as texts: charlm learns from them when it is
 * given no other. Run by the build. usage: embed_sources OUT ROOT FILE... */
#include <stdio.h>
#include <string.h>

static int embed(FILE *out, const char *path, int number)
{
    FILE *in = fopen(path, "rb");
    if (!in) {
        fprintf(stderr, "embed_sources: %s cannot be read\n", path);
        return -1;
    }
    fprintf(out, "static const char text_%d[] = {", number);
    int count = 0;
    for (int c; (c = getc(in)) != EOF; count++)
        fprintf(out, "%s%d,", count % 32 ? "" : "\n", (signed char)c);
    fprintf(out, "%s};\n", count ? "\n" : "0");
    int bad = ferror(in);
    fclose(in);
    return bad ? -1 : count;
}

int main(int argc, char **argv)
{
    if (argc < 4) return fprintf(stderr, "usage: embed_sources OUT ROOT FILE...\n"), 1;
    FILE *out = fopen(argv[1], "wb");
    if (!out) return fprintf(stderr, "embed_sources: %s cannot be written\n", argv[1]), 1;
    size_t root = strlen(argv[2]);
    fprintf(out, "/* Made by embed_sources. */\n#include \"examples/sources.h\"\n\n");
    for (int i = 3; i < argc; i++)
        if (embed(out, argv[i], i) < 0) return fclose(out), remove(argv[1]), 1;
    fprintf(out, "\nconst wf_text built_in_text[] = {\n");
    for (int i = 3; i < argc; i++) {
        const char *name = strncmp(argv[i], argv[2], root) ? argv[i] : argv[i] + root;
        fprintf(out, "    { \"%s\", text_%d, sizeof text_%d },\n", name + (*name == '/'), i, i);
    }
    fprintf(out, "};\nconst int built_in_count = %d;\n", argc - 3);
    return fclose(out) ? 1 : 0;
}
