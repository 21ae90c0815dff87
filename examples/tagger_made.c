/* Sentences for the tagger to learn: few forms, and names that are mostly new. */
#include "tagger.h"

#include <stdlib.h>
#include <string.h>

enum { MADE = 2000, SENTENCE = 1024 };

/* A symbol, and what it may become. P and Q are persons, L and R places, O is an organisation, D a
 * day, in small letters the same in Korean; X is any name and Y may be none, which letters alone
 * tell. Q and R are told by what is around, as are March and May. */
static const char *const rules[] = {
    "T%X was in the news .|They spoke of %Y and %Y .|Nobody knew %Y , but %X was known ."
    "|%X and %X were on the list of %D .|What %X was to %X , %Y is now .|%Q lives in %R ."
    "|%Q may come to %R in %D .|%Q worked for %O until %D .|On %D %O opened a shop in %R ."
    "|We march from %R to %R on %D .|%Q of %O met %Q in %R ."
    "|%p는 %l에서 살았다 .|%d %p는 %o에서 일했다 .|%l에서 온 %p가 말했다 .|%x에서 소식이 왔다 ."
    "|%x의 소식과 %x의 사진 .|%d에 %p와 %p가 만났다 .",
    "X%P|%L|%O",
    "Y%X|%W",
    "x%p|%l|%o",
    "P%F|%F %N|%N|%N",
    "Q%F %N|%N|%B|%K|%F %K",
    "L%C|%C|New %C",
    "R%C|%B|%K",
    "K%U%u|%U%u%u",
    "O%U%uex|%U%u%ucorp|%U%usoft|University of %C|%N Bank|%B Group",
    "D%M|%1 %M|%1 %M 19%1%1|%M 19%1%1|19%1%1|Monday|Sunday",
    "W%u%u%us|%u%uing|%u%u%uer|%u%uness|%u%uson",
    "FAnna|Ben|Clara|Emil|Ida|Noah|May|April|March",
    "N%U%uson|%U%uer|%U%u%uez|%U%uini",
    "C%U%uburg|%U%uton|%U%u%uville|%U%ustad",
    "BParis|Jordan|Austin|Florence|Lincoln|Chelsea",
    "MMarch|April|May|June|July|August",
    "UBa|Ke|Lo|Mi|Ru|Sa|Ne|Ti|Vo|Da|Gra|Pel|Win|Har|Mon|Ster|Bri|Fal|Quo|Zim",
    "uba|ke|lo|mi|ru|sa|ne|ti|vo|da|gra|pel|win|har|mon|ster|bri|fal|quo|zim",
    "11|2|3|4|5|6|7|8|9",
    "p김%h%h|이%h%h|박%h%h|최%h%h",
    "l%h%h시|%h%h군|%h%h읍|새 %h%h시",
    "o%h%h은행|%h%h전자|%h%h대학교|%h%h 신문",
    "d%1월|%1월 %1일|199%1년 %1월",
    "h민|수|지|영|현|우|서|준|진|도|하|윤|정|호|가|람",
};
static const char names[] = "PLODplodQR";

/* Adds what a symbol becomes to a text, names as {P...}. */
static void make(char symbol, uint64_t key, uint64_t *drawn, char text[SENTENCE])
{
    const char *const *rule = rules, *at;
    int64_t forms = 1;
    while (**rule != symbol) rule++;
    for (at = *rule; *at; at++) forms += *at == '|';
    at = *rule + 1;
    for (int64_t k = wf_random_below(key, (*drawn)++, forms); k > 0; k--) at = strchr(at, '|') + 1;
    if (strchr(names, symbol)) wf_append(text, SENTENCE, "{%c", symbol);
    while (*at && *at != '|') {
        const size_t n = strcspn(at, "%|");
        wf_append(text, SENTENCE, "%.*s", (int)n, at);
        at += n;
        if (*at != '%') continue;
        make(at[1], key, drawn, text);
        at += 2;
    }
    if (strchr(names, symbol)) wf_append(text, SENTENCE, "}");
}

/* Adds a sentence as columns. */
static void make_sentence(uint64_t key, char lines[SENTENCE])
{
    static const char *const types[] = { "PER", "LOC", "ORG", "DATE" };
    char text[SENTENCE] = "", tag[8] = "O";
    uint64_t drawn = 0;
    make('T', key, &drawn, text);
    for (int64_t at = 0, start, n; (n = wf_text_word(text, (int64_t)strlen(text), &at, &start));) {
        char *word = text + start, *end = memchr(word, '}', (size_t)n);
        if (*word == '{') {
            wf_format(tag, sizeof tag, "B-%s", types[(strchr(names, word[1]) - names) % 4]);
            word += 2, n -= 2;
        }
        if (end) memmove(end, end + 1, (size_t)(word + n-- - end));
        wf_append(lines, SENTENCE, "%.*s %s\n", (int)n, word, tag);
        *tag = *tag == 'O' || end ? 'O' : 'I';
        if (end) tag[1] = 0;
    }
    wf_append(lines, SENTENCE, "\n");
}

wf_conll *made_sentences(uint64_t seed, const char *path, wf_error *e)
{
    char *text = malloc(MADE * SENTENCE);
    int64_t n = 0;
    if (!text) return wf_error_set(e, "not enough memory"), NULL;
    for (uint64_t i = 0; i < MADE; i++, n += (int64_t)strlen(text + n))
        text[n] = 0, make_sentence(wf_key_with(seed, i), text + n);
    wf_conll *made = NULL;
    if (!path || wf_file_write(path, text, n, e))
        made = wf_conll_from_text(&(wf_text){ "made", text, n }, NULL, e);
    free(text);
    return made;
}
