exec php main.php "$@"
