# Starts Cantaloupe with the configuration of ingest.
#
# A variable overrides a key of the properties file also if it is blank: with S3SOURCE_ENDPOINT= each request is answered
# with 500. So blank ones, which Compose and task definitions can't leave out, are taken as not set.
for name in $(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=$/\1/p'); do
    unset "$name"
done

# No java.library.path: OpenJPEG is a program, found on PATH (or by OpenJpegProcessor.path_to_binaries), and libjpeg-turbo is
# looked for in /opt/libjpeg-turbo/lib. Kakadu's library needs one: JAVA_TOOL_OPTIONS="-Xmx6g -Djava.library.path=...".
# CANTALOUPE_JAR is a pattern, so it has no quotes.
exec java -Dcantaloupe.config=/config/cantaloupe.properties -jar $CANTALOUPE_JAR
