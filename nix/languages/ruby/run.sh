exec ruby main.rb "$@"
