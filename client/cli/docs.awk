# Turns the comments of the contract into a C table: {"Message.field", "text"} for fields and {"rpc.Method", "text"} for
# RPCs.  A comment belongs to the declaration that follows it without an empty line between.
function flush(name) {
    gsub(/["\\]/, "\\\\&", text)
    printf "    {\"%s\", \"%s\"},\n", name, text
    text = ""
}
BEGIN {
    print "#include \"cli/docs.h\"\n\nconst struct doc docs[] = {"
}
/^ *\/\// {
    line = $0; sub(/^ *\/\/ ?/, "", line); gsub(/  +/, " ", line)
    text = text (text == "" ? "" : " ") line
    next
}
/^ *rpc / { name = $2; sub(/\(.*/, "", name); flush("rpc." name); next }
/^message / { message = $2; sub(/\{.*/, "", message); text = ""; next }
/^ *oneof / { text = ""; next }
/^ .* = [0-9]+[^;]*;/ { split($0, half, " *= *"); n = split(half[1], word, " "); flush(message "." word[n]); next }
{ text = "" }
END { print "    {0, 0},\n};" }
