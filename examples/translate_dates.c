/* Dates as people write them, and as ISO 8601 does. */
#include "examples/translate.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_YEAR = 1950, YEARS = 100 };

static const char *const months[12] = { "January",   "February", "March",    "April",
                                        "May",       "June",     "July",     "August",
                                        "September", "October",  "November", "December" };
static const char *const days[7] = { "Monday", "Tuesday",  "Wednesday", "Thursday",
                                     "Friday", "Saturday", "Sunday" };
static const char *const korean_days[7] = { "월", "화", "수", "목", "금", "토", "일" };

typedef struct date {
    int year, month, day, weekday; /* month and weekday from 0, day from 1 */
} date;

static int days_in(int month, int year)
{
    static const int length[12] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    return length[month] + (month == 1 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
}

/* Day n after 1 January of the first year, which was a Sunday. */
static date date_of(int64_t n)
{
    date d = { .year = FIRST_YEAR, .weekday = (int)((n + 6) % 7) };
    for (; n >= days_in(d.month, d.year); d.year += d.month == 11, d.month = (d.month + 1) % 12)
        n -= days_in(d.month, d.year);
    d.day = (int)n + 1;
    return d;
}

static const char *ending(int day)
{
    if (day / 10 == 1) return "th";
    return day % 10 == 1 ? "st" : day % 10 == 2 ? "nd" : day % 10 == 3 ? "rd" : "th";
}

enum { SPELLINGS = 12 };
/* A date in one of the ways. */
static void write_date(FILE *f, const date *d, int spelling)
{
    const char *month = months[d->month], *day = days[d->weekday];
    const int y = d->year, m = d->month + 1, n = d->day;
    switch (spelling) {
    case 0: fprintf(f, "%s, %d %s %d\n", day, n, month, y); return;
    case 1: fprintf(f, "%d.%d.%02d\n", n, m, y % 100); return;
    case 2: fprintf(f, "%s %d%s, %d\n", month, n, ending(n), y); return;
    case 3: fprintf(f, "%d년 %d월 %d일\n", y, m, n); return;
    case 4: fprintf(f, "%02d.%02d.%d\n", n, m, y); return;
    case 5: fprintf(f, "%.3s %d %.3s %d\n", day, n, month, y); return;
    case 6: fprintf(f, "the %d%s of %s %d\n", n, ending(n), month, y); return;
    case 7: fprintf(f, "%d년 %d월 %d일 %s요일\n", y, m, n, korean_days[d->weekday]); return;
    case 8: fprintf(f, "%.3s %d, %d\n", month, n, y); return;
    case 9: fprintf(f, "%d. %d. %d.\n", y, m, n); return;
    case 10: fprintf(f, "%d %s '%02d\n", n, month, y % 100); return;
    default: fprintf(f, "%02d년 %d월 %d일\n", y % 100, m, n); return;
    }
}

/* One day of sixteen is for validation, another one for the test. */
static dates_part part_of(int64_t day)
{
    const int64_t one = wf_random_below(wf_key_named(0, "parts"), (uint64_t)day, 16);
    return one == 0 ? DATES_TEST : one == 1 ? DATES_VALID : DATES_TRAIN;
}

bool dates_make(uint64_t seed, dates_part part, int64_t n, wf_text *human, wf_text *iso)
{
    const int64_t all = YEARS * 365 + YEARS / 4; /* 2000 was a leap year, too */
    const uint64_t key = wf_key_with(wf_key_named(seed, "dates"), part);
    char *text[2] = { NULL, NULL };
    size_t bytes[2] = { 0, 0 };
    FILE *f[2] = { open_memstream(&text[0], &bytes[0]), open_memstream(&text[1], &bytes[1]) };
    uint64_t drawn = 0;
    for (int64_t i = 0; f[0] && f[1] && i < n; i++) {
        int64_t day;
        do day = wf_random_below(key, drawn++, all);
        while (part_of(day) != part);
        const date d = date_of(day);
        write_date(f[0], &d, (int)wf_random_below(key, drawn++, SPELLINGS));
        fprintf(f[1], "%d-%02d-%02d\n", d.year, d.month + 1, d.day);
    }
    bool ok = true;
    for (int k = 0; k < 2; k++) ok = f[k] && !fclose(f[k]) && ok;
    *human = (wf_text){ "dates", text[0], (int64_t)bytes[0] };
    *iso = (wf_text){ "ISO dates", text[1], (int64_t)bytes[1] };
    return ok;
}
