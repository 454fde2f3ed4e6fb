;; Counts the words on stdin: most frequent first, then by alphabet.
(defun words (line)
  (loop with start = 0
        for end = (position-if (lambda (c) (member c '(#\Space #\Tab))) line :start start)
        for word = (subseq line start end)
        unless (string= word "") collect word
        while end do (setf start (1+ end))))

(defun before (a b)
  (or (> (cdr a) (cdr b))
      (and (= (cdr a) (cdr b)) (string< (car a) (car b)))))

(let ((counts (make-hash-table :test 'equal)))
  (loop for line = (read-line *standard-input* nil)
        while line do (dolist (word (words line)) (incf (gethash word counts 0))))
  (let ((pairs (loop for word being the hash-keys of counts using (hash-value count)
                     collect (cons word count))))
    (loop for (word . count) in (sort pairs #'before) do (format t "~a ~d~%" word count))))
