//! The command lines that the demo's sessions run, for `/bin/sh` and the tools that every system has.

/// What other crates can see of a Rust crate.
pub const RUST_ITEMS: &str =
    "^ *pub (async |const |unsafe )*(fn|struct|enum|trait|type|mod|static|const|union) ";
/// The nearest to it in other languages.
pub const ANY_ITEMS: &str =
    "^ *(export |public |async )*(def|class|func|function|interface|fn|type) ";

/// Counts items by file and writes a report.
pub const COUNT: &str = r#"set -eu
echo 'counting public items'
git ls-files -z -- '@FILES@' | xargs -0 -r grep -IHcE '@PATTERN@' > counts.tmp || true
{
  echo '# Public items'
  echo
  awk -F: '{ total += $NF } END { printf "%d items in %d files\n\n", total, NR }' counts.tmp
  sort -t: -k2,2nr counts.tmp | head -n 40 | awk -F: '$NF > 0 { printf "- %s: %d\n", $1, $NF }'
} > PUBLIC-ITEMS.md
rm counts.tmp
sed -n 3p PUBLIC-ITEMS.md
"#;

/// Writes a badly formatted file and formats it, with rustfmt where it works and with what is always there if not.
pub const FORMAT: &str = r#"set -eu
printf 'fn  main( ){\t\n\n\n\tlet  words=["a","b"] ;   \n\tfor w in words{ println!("{w}") }\t\n}\n' > messy.rs
cp messy.rs before.tmp
if command -v rustfmt >/dev/null && rustfmt --edition 2024 messy.rs 2>/dev/null; then
  echo 'formatted by rustfmt'
else
  expand -t 4 before.tmp | sed 's/ *$//' | awk 'NF || !blank { print } { blank = !NF }' > messy.rs
  echo 'formatted by expand, sed and awk'
fi
if grep -n "$(printf '\t')" messy.rs || grep -n ' $' messy.rs; then
  echo 'still badly formatted' >&2
  exit 1
fi
diff before.tmp messy.rs || true
rm before.tmp
"#;

/// Asks for another attempt twice.
pub const THIRD_TIME: &str = r#"set -eu
if [ "$ORCHESTRATOR_ATTEMPT" -lt 3 ]; then
  echo "attempt $ORCHESTRATOR_ATTEMPT does not work out; exit code 75 asks for another one" >&2
  exit 75
fi
echo "attempt $ORCHESTRATOR_ATTEMPT worked" | tee THIRD-TIME.txt
"#;

/// Goes on until somebody ends it.
pub const ENDLESS: &str = r#"set -eu
n=0
while true; do
  n=$((n + 1))
  echo "still here, $n"
  sleep 0.5
done
"#;

pub const FAILS: &str = r"echo 'this check finds a mistake' >&2
exit 3
";

/// Counts the lines of a share of the files, ten steps with a short rest after each, so that there is something to see.
pub const SURVEY: &str = r#"set -eu
mkdir -p survey
git ls-files | awk 'NR % @PARTS@ == @PART@ % @PARTS@' | head -n 200 > share.tmp
report=survey/part-@PART@.tsv
: > "$report"
for step in 1 2 3 4 5 6 7 8 9 10; do
  awk -v step="$step" 'NR % 10 == step % 10' share.tmp | while IFS= read -r file; do
    if [ -f "$file" ]; then
      printf '%s\t%s\n' "$(wc -l < "$file")" "$file"
    fi
  done >> "$report"
  if [ "$step" -lt 10 ]; then fraction=0.$step; else fraction=1; fi
  printf '{"progress": {"fraction": %s, "message": "step %s of 10"}}\n' "$fraction" "$step" > "$ORCHESTRATOR_PROGRESS"
  sleep 0.15
done
rm share.tmp
awk '{ lines += $1 } END { printf "%d lines in %d files\n", lines, NR }' "$report" | tee -a "$report"
"#;
