#include "answers.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------- vocabulary -- */

static const char frequent[] =
    "time people way system data process example value case point part model result change order level line group work "
    "number function method user request response service problem question answer reason idea step list rule type form "
    "state world year place area life story history market price cost rate size amount team company student teacher "
    "child family friend city country water food energy power light heat body mind heart health care research study "
    "paper book language word sentence name letter page image sound music film game sport player game law court right "
    "policy government tax money bank account customer product design test error code file table key index cache memory "
    "network server client database query thread loop object class field string array tree graph node edge path route "
    "page link tool plan project task goal budget risk benefit effect cause source term period season summer winter "
    "morning evening week month minute second hour distance speed weight surface layer cell plant animal bird fish tree "
    "forest river ocean island mountain weather climate temperature pressure volume density structure pattern signal "
    "frequency image version feature option setting choice decision strategy approach theory principle concept context "
    "detail summary section chapter topic subject habit skill practice lesson exercise training experience knowledge "
    "trust respect culture tradition religion art museum theatre dance painting colour shape material metal wood glass "
    "stone paper plastic engine machine vehicle road bridge station airport ticket journey holiday hotel restaurant "
    "kitchen recipe flavour salt sugar flour butter cheese bread rice meat fruit vegetable garden soil seed flower";

static const char descriptive[] =
    "good new first last long great little own other old right big high different small large next early young important "
    "few public same able clear simple common possible useful careful reliable consistent flexible efficient typical "
    "specific general practical theoretical modern traditional local global internal external temporary permanent stable "
    "dynamic static complete partial direct indirect primary secondary positive negative strong weak heavy light fast "
    "slow deep shallow wide narrow early late cheap expensive safe dangerous quiet busy rich poor fresh dry warm cold "
    "bright dark soft hard smooth rough sharp flat round empty full open closed active passive formal informal legal "
    "medical financial technical natural artificial original final current recent future regular rare frequent gradual "
    "sudden obvious subtle significant minor major relevant suitable available necessary sufficient";

static const char actions[] =
    "make take give find use tell ask work call try need feel become leave put mean keep begin help show hear play run "
    "move live believe bring happen write provide sit stand lose pay meet include continue set learn change lead "
    "understand watch follow stop create speak read allow add spend grow open walk win offer remember consider appear buy "
    "wait serve send expect build stay fall cut reach remain suggest raise pass sell require report decide pull reduce "
    "improve measure compare check avoid choose explain describe define store load share support handle protect manage "
    "prepare combine separate replace repeat limit test review organise schedule track record estimate adjust verify";

static const char adverbs[] =
    "usually often generally typically carefully quickly slowly directly clearly simply mostly nearly rarely sometimes "
    "always eventually gradually immediately effectively efficiently reasonably slightly significantly roughly exactly "
    "especially particularly relatively naturally automatically manually regularly initially finally currently";

static const char onsets[] =
    "b bl br c ch cl cr d dr f fl fr g gr h j k l m n p pl pr qu r s sc sh sp st str t th tr v w";
static const char rhymes[] =
    "a al an ar at e el en er et ea i il in it ir o ol on or ot ou u ul un ur ud ai ess and ist ock eam ight";
static const char suffixes[] = "ation ment able ive ity ing ed er or al ance ence ure ism ist ize ary ous ic ent";

static const char *const topics[] = {
    "photosynthesis chlorophyll sunlight carbon glucose leaf oxygen chloroplast stomata enzyme pigment",
    "interest inflation portfolio dividend bond equity volatility diversification broker index yield",
    "kubernetes container cluster deployment pod ingress replica namespace scheduler volume registry",
    "recursion algorithm complexity stack pointer hash sorting queue binary heap traversal",
    "resume interview recruiter salary manager candidate skill portfolio reference onboarding career",
    "protein calorie workout muscle hydration cardio stretching recovery nutrition metabolism sleep",
    "passport visa itinerary embassy luggage airline hostel insurance currency border festival",
    "gradient tensor dataset epoch optimizer embedding attention transformer dropout benchmark token",
    "guitar chord melody rhythm scale harmony tempo bass amplifier fingerpicking songwriting",
    "election parliament constitution senate ballot coalition referendum minister amendment campaign",
    "mortgage tenant lease deposit landlord renovation appraisal neighbourhood heating insulation",
    "python decorator generator asyncio exception iterator dictionary package virtualenv typing pytest",
    "empire dynasty treaty revolution colony archive medieval conquest merchant monarchy republic",
    "vaccine antibody symptom diagnosis infection immunity dosage clinic therapy allergy fever",
    "galaxy telescope orbit asteroid spectrum supernova gravity satellite nebula exoplanet photon",
    "sourdough yeast oven fermentation gluten crust kneading hydration starter dough baking",
    "relationship trust boundary communication conflict empathy apology partner counselling commitment",
    "postgres transaction isolation replication vacuum schema migration partition constraint join trigger",
    "grammar vocabulary pronunciation tense accent fluency idiom phrase dictionary listening verb",
    "startup founder investor revenue pricing onboarding churn retention runway pitch valuation",
    "electric battery charger inverter voltage motor range regenerative torque hybrid emission",
    "novel narrator metaphor dialogue protagonist chapter draft editor publisher symbolism plot",
    "encryption certificate firewall malware phishing password authentication vulnerability token audit patch",
    "coffee espresso roast grinder crema filter arabica brewing kettle acidity barista",
};
#define TOPICS (sizeof topics / sizeof topics[0])

/* ---------------------------------------------------------------------------------------------------- chance -- */

/* splitmix64: small, good enough, the same everywhere. */
static uint64_t mix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static double unit(uint64_t *state)
{
    return (double)(mix(state) >> 11) * 0x1p-53;
}

static size_t below(struct answers *answers, size_t bound)
{
    return (size_t)(mix(&answers->state) % bound);
}

/* ----------------------------------------------------------------------------------------------------- words -- */

static size_t count_words(const char *list)
{
    size_t count = 1;
    for (const char *at = list; *at != '\0'; at++) count += *at == ' ';
    return count;
}

/* Word `index` of a list that is separated by spaces. */
static size_t nth_word(const char *list, size_t index, const char **out)
{
    for (; index > 0; index--) list = strchr(list, ' ') + 1;
    *out = list;
    return strcspn(list, " ");
}

static void add_word(struct answers *answers, const char *stem, size_t stem_size, const char *suffix,
                     size_t suffix_size)
{
    if (answers->word_count == ANSWERS_WORDS || stem_size + suffix_size >= ANSWERS_WORD_BYTES) return;
    char *word = answers->words[answers->word_count++];
    memcpy(word, stem, stem_size);
    memcpy(word + stem_size, suffix, suffix_size);
    word[stem_size + suffix_size] = '\0';
}

static void add_list(struct answers *answers, const char *list)
{
    for (size_t i = 0, count = count_words(list); i < count; i++) {
        const char *word;
        size_t size = nth_word(list, i, &word);
        add_word(answers, word, size, "", 0);
    }
}

/* Rare words: one to three syllables and often an ending, so that no dictionary knows them all. */
static void add_rare(struct answers *answers)
{
    size_t onset_count = count_words(onsets), rhyme_count = count_words(rhymes), suffix_count = count_words(suffixes);
    while (answers->word_count < ANSWERS_WORDS) {
        char word[32] = "";
        size_t size = 0;
        for (size_t left = 1 + below(answers, 3); left > 0; left--) {
            const char *part;
            size_t part_size = nth_word(onsets, below(answers, onset_count), &part);
            memcpy(word + size, part, part_size);
            size += part_size;
            part_size = nth_word(rhymes, below(answers, rhyme_count), &part);
            memcpy(word + size, part, part_size);
            size += part_size;
        }
        const char *suffix = "";
        size_t suffix_size = below(answers, 2) == 0 ? nth_word(suffixes, below(answers, suffix_count), &suffix) : 0;
        add_word(answers, word, size, suffix, suffix_size);
    }
}

void answers_init(struct answers *answers)
{
    *answers = (struct answers){.state = 1};
    add_list(answers, frequent);
    add_rare(answers);
    double total = 0;
    for (size_t i = 0; i < answers->word_count; i++) {
        total += 1.0 / pow((double)i + 6.0, 0.3);
        answers->cumulative[i] = total;
    }
}

static const char *any_word(struct answers *answers)
{
    double at = unit(&answers->state) * answers->cumulative[answers->word_count - 1];
    size_t low = 0, high = answers->word_count - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (answers->cumulative[middle] < at) low = middle + 1;
        else high = middle;
    }
    return answers->words[low];
}

/* --------------------------------------------------------------------------------------------------- writing -- */

static void put(struct answers *answers, const char *text, size_t size)
{
    if (size > answers->limit - answers->size) size = answers->limit - answers->size;
    memcpy(answers->out + answers->size, text, size);
    answers->size += size;
}

static void put_text(struct answers *answers, const char *text)
{
    put(answers, text, strlen(text));
}

static void put_from(struct answers *answers, const char *list)
{
    const char *word;
    size_t size = nth_word(list, below(answers, count_words(list)), &word);
    put(answers, word, size);
}

static void put_word(struct answers *answers);

/* Most of the listed words give way to the answer's own, as jargon does. */
static void put_listed(struct answers *answers, const char *list)
{
    if (below(answers, 10) < 8) put_word(answers);
    else put_from(answers, list);
}

static void put_topic(struct answers *answers)
{
    const char *word = answers->topic[below(answers, answers->topic_count)];
    put(answers, word, strcspn(word, " "));
}

static void put_number(struct answers *answers)
{
    char digits[24];
    size_t kind = below(answers, 4);
    size_t number = kind == 0 ? below(answers, 12) + 1 : kind == 1 ? below(answers, 100) : below(answers, 4000);
    snprintf(digits, sizeof digits, "%zu", number);
    put_text(answers, digits);
}

/* A word of this answer's own few, or any other. */
static void put_word(struct answers *answers)
{
    if (below(answers, 100) < ANSWERS_LOCAL_PERCENT) put_text(answers, answers->local[below(answers, ANSWERS_LOCAL)]);
    else put_text(answers, any_word(answers));
}

/* n noun, t topic, a adjective, v verb, d adverb, x number; everything else stands for itself. */
static void put_pattern(struct answers *answers, const char *pattern)
{
    size_t start = answers->size;
    for (const char *at = pattern; *at != '\0'; at++) {
        if (*at != '%') {
            put(answers, at, 1);
            continue;
        }
        switch (*++at) {
        case 'n': put_word(answers); break;
        case 't': put_topic(answers); break;
        case 'a': put_listed(answers, descriptive); break;
        case 'v': put_listed(answers, actions); break;
        case 'd': put_listed(answers, adverbs); break;
        case 'x': put_number(answers); break;
        default: break;
        }
    }
    if (start < answers->size && answers->out[start] >= 'a' && answers->out[start] <= 'z') answers->out[start] -= 32;
}

/* A sentence is opened, said, and sometimes explained: 18 × 24 × 16 shapes, so that few long strings are common to all
 * answers. */
static const char *const openings[] = {
    "",
    "",
    "",
    "",
    "For %n, ",
    "In %n, ",
    "%d, ",
    "If you %v %n, ",
    "With %a %n, ",
    "Once %n is %a, ",
    "For example, ",
    "In contrast, ",
    "That said, ",
    "After %x %n, ",
    "Under %a %n, ",
    "Unless %n is %a, ",
    "When you %v it, ",
    "Compared with %n, ",
};
static const char *const statements[] = {
    "the %t %v %a %n",     "%n and %n %v %t",      "a %a %t can %v the %n", "it is %a to %v the %t",
    "most %n %v %d",       "you can %v %n by %n",  "%n is %a, not %a",      "%n %v more than %x %n",
    "one should %v %n %d", "this %v the %n of %t", "%t will %d %v",         "several %n %v it",
    "they %v %a %n",       "%n has %x %n",         "our %n %v the %t",      "%t needs %n and %n",
    "no %n %v without %t", "its %n may %v",        "%n comes from %n",      "%a %n beats %a %n",
    "do not %v %n",        "%t means %n",          "%n, %n and %n %v",      "each %n is a %t",
};
static const char *const closings[] = {
    "",
    "",
    "",
    "",
    "",
    " because %n is %a",
    ", so %n %v",
    " (%n)",
    " in %x %n",
    ", which is why %t %v",
    " rather than %n",
    " and %v %n",
    " before %n",
    "; %n is %a",
    ", as %n %v",
    " of %a %n",
};
#define CHOOSE(answers, list) ((list)[below((answers), sizeof(list) / sizeof(list)[0])])

static void put_sentence(struct answers *answers)
{
    char pattern[160];
    snprintf(pattern, sizeof pattern, "%s%s%s.", CHOOSE(answers, openings), CHOOSE(answers, statements),
             CHOOSE(answers, closings));
    put_pattern(answers, pattern);
}

static void put_paragraph(struct answers *answers)
{
    for (size_t left = 2 + below(answers, 4); left > 0; left--) {
        put_sentence(answers);
        put_text(answers, left > 1 ? " " : "\n\n");
    }
}

static void put_list(struct answers *answers, bool numbered)
{
    size_t count = 3 + below(answers, 5);
    for (size_t i = 1; i <= count; i++) {
        char mark[8];
        snprintf(mark, sizeof mark, numbered ? "%zu. " : "- ", i);
        put_text(answers, mark);
        if (below(answers, 3) > 0) {
            put_text(answers, "**");
            put_pattern(answers, below(answers, 2) == 0 ? "%n" : "%a %t");
            put_text(answers, "**: ");
        }
        put_sentence(answers);
        put_text(answers, i < count ? "\n" : "\n\n");
    }
}

static void put_heading(struct answers *answers)
{
    static const char *const headings[] = {"How %t works",       "Why the %n matters", "%t and %n", "Common %n",
                                           "Steps to %v the %t", "When to %v a %n",    "Summary",   "%a %n"};
    put_text(answers, below(answers, 2) == 0 ? "## " : "### ");
    put_pattern(answers, headings[below(answers, sizeof headings / sizeof headings[0])]);
    put_text(answers, "\n\n");
}

static void put_name(struct answers *answers)
{
    const char *word = any_word(answers);
    put_text(answers, word);
    if (below(answers, 2) == 0) {
        put_text(answers, "_");
        put_topic(answers);
    }
}

static void put_code(struct answers *answers)
{
    put_text(answers, "```python\ndef ");
    put_name(answers);
    put_text(answers, "(items, limit=");
    put_number(answers);
    put_text(answers, "):\n");
    for (size_t left = 2 + below(answers, 5); left > 0; left--) {
        put_text(answers, "    ");
        put_name(answers);
        switch (below(answers, 4)) {
        case 0: put_text(answers, " = [item for item in items if item."); break;
        case 1: put_text(answers, " = sum(len(item) for item in "); break;
        case 2: put_text(answers, ".append("); break;
        default: put_text(answers, " = items."); break;
        }
        put_name(answers);
        put_text(answers, left % 2 == 0 ? "]\n" : ")\n");
    }
    put_text(answers, "    return ");
    put_name(answers);
    put_text(answers, "\n```\n\n");
}

static void put_table(struct answers *answers)
{
    size_t columns = 2 + below(answers, 3), rows = 2 + below(answers, 4);
    for (size_t row = 0; row <= rows; row++) {
        put_text(answers, "|");
        for (size_t column = 0; column < columns; column++) {
            put_text(answers, " ");
            put_pattern(answers, column == 0 ? "%t" : column == 1 ? "%x %n" : "%a %n");
            put_text(answers, " |");
        }
        put_text(answers, row == 0 ? "\n|---|---|\n" : "\n");
    }
    put_text(answers, "\n");
}

static void choose_topic(struct answers *answers, uint64_t index)
{
    answers->state = (index + 1) * 0xd1342543de82ef95u;
    const char *topic = topics[below(answers, TOPICS)];
    answers->topic_count = 0;
    for (size_t i = 0, count = count_words(topic); i < count && answers->topic_count < 12; i++) {
        const char *word;
        nth_word(topic, i, &word);
        answers->topic[answers->topic_count++] = word;
    }
    for (size_t i = 0; i < 4; i++) answers->topic[answers->topic_count++] = any_word(answers);
    for (size_t i = 0; i < ANSWERS_LOCAL; i++) answers->local[i] = answers->words[below(answers, answers->word_count)];
}

void answers_write(struct answers *answers, uint64_t index, size_t bytes, char *out)
{
    choose_topic(answers, index);
    answers->out = out;
    answers->size = 0;
    answers->limit = bytes;
    put_paragraph(answers);
    while (answers->size < bytes) {
        size_t kind = below(answers, 20);
        if (kind < 3) put_heading(answers);
        if (kind < 11) put_paragraph(answers);
        else if (kind < 15) put_list(answers, false);
        else if (kind < 17) put_list(answers, true);
        else if (kind < 19) put_code(answers);
        else put_table(answers);
    }
}

size_t answers_size(uint64_t index)
{
    uint64_t state = index * 0x9e3779b97f4a7c15u + 7;
    /* Box and Muller; sigma 0.9 puts 2 % above 19 KB. */
    double radius = sqrt(-2.0 * log(1.0 - unit(&state)));
    double size = 3000.0 * exp(0.9 * radius * cos(6.283185307179586 * unit(&state)));
    if (size < ANSWERS_MIN_BYTES) return ANSWERS_MIN_BYTES;
    return size > ANSWERS_MAX_BYTES ? ANSWERS_MAX_BYTES : (size_t)size;
}

void answers_question(struct answers *answers, uint64_t index, char *out, size_t capacity)
{
    static const char *const patterns[] = {"What is the best way to %v a %a %t?", "Why does %t %v the %n?",
                                           "How do I %v %n with %t and %n?", "Is %a %t better than %n?"};
    char text[256];
    choose_topic(answers, index);
    answers->out = text;
    answers->size = 0;
    answers->limit = sizeof text - 1;
    put_pattern(answers, patterns[below(answers, sizeof patterns / sizeof patterns[0])]);
    text[answers->size] = '\0';
    snprintf(out, capacity, "%s (%llu)", text, (unsigned long long)index);
}

size_t answers_json_string(const char *text, size_t size, char *out)
{
    char *at = out;
    *at++ = '"';
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (c == '\n') {
            *at++ = '\\';
            c = 'n';
        } else if (c == '"' || c == '\\') {
            *at++ = '\\';
        }
        *at++ = c;
    }
    *at++ = '"';
    return (size_t)(at - out);
}
