#!/bin/sh
# Makes the container samples beside this file with ffmpeg (5.1 made the ones here): 1.5 s, a keyframe each 0.5 s.
set -eu
cd "$(dirname "$0")"
run() { ffmpeg -hide_banner -loglevel error -y -bitexact "$@"; }
video="-f lavfi -i testsrc=size=128x96:rate=10:duration=1.5"
audio="-f lavfi -i sine=frequency=440:sample_rate=44100:duration=1.5"
x264="-c:v libx264 -preset veryfast -profile:v baseline -pix_fmt yuv420p -g 5 -keyint_min 5 -sc_threshold 0 -b:v 60k"
aac="-c:a aac -b:a 32k -ac 1"
opus="-c:a libopus -b:a 24k -ac 1 -ar 48000"
run $video $audio $x264 $aac -f mpegts av.ts
run $audio $aac -f mpegts a.ts
run $video $audio $x264 $aac -f flv av.flv
run $audio $aac -f flv a.flv
run $video $audio $x264 $aac -movflags frag_keyframe+empty_moov+default_base_moof -f mp4 av.mp4
run $audio $aac -movflags empty_moov+default_base_moof -frag_duration 500000 -f mp4 a.mp4
run $video $audio $x264 $aac -f mp4 plain.mp4
run $video $audio -c:v libvpx -qmin 2 -qmax 10 -g 5 -b:v 200k -deadline realtime $opus -live 1 -f webm av.webm
run $video $audio -c:v libvpx -qmin 2 -qmax 10 -g 5 -b:v 200k -deadline realtime $opus -f webm sized.webm
run $audio $opus -cluster_time_limit 300 -f webm a.webm
run $audio -c:a libvorbis -b:a 48k -page_duration 200000 -f ogg vorbis.ogg
run $audio $opus -page_duration 200000 -f ogg opus.ogg
run $audio -c:a flac -sample_fmt s16 -compression_level 12 -page_duration 200000 -f ogg flac.ogg
run $video $audio -c:v libtheora -g 5 -b:v 60k -c:a libvorbis -b:a 48k -f ogg theora.ogv
run $audio -c:a libmp3lame -b:a 32k -ac 1 -id3v2_version 0 -write_xing 0 -f mp3 a.mp3
run $audio $aac -f adts a.aac
