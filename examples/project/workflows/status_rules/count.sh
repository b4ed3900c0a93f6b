# Counts the rows that lie below or above a bound, and says so in an event.
set -eu
side=$1 bound=$2
count=$(awk -F, -v side="$side" -v bound="$bound" \
    'NR > 1 && (side == "below" ? $2 < bound : $2 >= bound) { n++ } END { print n + 0 }' "$PROJECT_DIR/resources/temperatures.csv")
echo "{\"key\": \"counted\", \"value\": {\"side\": \"$side\", \"count\": $count}}" >> "$AIFLOW_EVENTS"
